namespace Boxer.AspNetCore;

/// <summary>Names of what <c>AddBoxerHttp</c> registers.</summary>
public static class BoxerHttpDefaults
{
    /// <summary>The authentication scheme that reads keys of <see cref="BoxerHttpOptions.ApiKeys"/>.</summary>
    public const string AuthenticationScheme = "Boxer";

    /// <summary>The authorization policy of the endpoints: a key, where <see cref="BoxerHttpOptions.ApiKeys"/> has any.</summary>
    public const string AuthorizationPolicy = "Boxer";

    /// <summary>The name of the OpenAPI document, and the group name of the endpoints.</summary>
    public const string DocumentName = "boxer";

    /// <summary>
    /// The claim type of a client's name: 1 to 64 lower-case letters, digits and hyphens. Clients of one name share a file space and a place in
    /// the queue. A scheme of the application may issue it; without it the name is made of the user's identifier.
    /// </summary>
    public const string ClientClaim = "boxer:client";

    /// <summary>The claim type of a network mode that a client may use, one claim for each. A client without such claims may use all that the options allow.</summary>
    public const string NetworkClaim = "boxer:network";
}
