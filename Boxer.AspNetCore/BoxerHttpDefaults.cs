namespace Boxer.AspNetCore;

/// <summary>Names that <c>AddBoxerHttp</c> uses.</summary>
public static class BoxerHttpDefaults
{
    /// <summary>Authentication scheme that reads the keys of <see cref="BoxerHttpOptions.ApiKeys"/>.</summary>
    public const string AuthenticationScheme = "Boxer";

    /// <summary>Authorization policy of the endpoints. It requires a key if <see cref="BoxerHttpOptions.ApiKeys"/> is set.</summary>
    public const string AuthorizationPolicy = "Boxer";

    /// <summary>Name of the OpenAPI document and group name of the endpoints.</summary>
    public const string DocumentName = "boxer";

    /// <summary>
    /// Claim type of a client's name: 1 to 64 lower-case letters, digits and hyphens. Clients with the same name share a file space and a share of the
    /// queue. An authentication scheme of the application may issue this claim. Without it the name is derived from the user's identifier.
    /// </summary>
    public const string ClientClaim = "boxer:client";

    /// <summary>Claim type of a network mode that a client may use; one claim per mode. A client without such claims may use all modes that the options allow.</summary>
    public const string NetworkClaim = "boxer:network";
}
