using System.Security.Claims;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authorization;
using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Security;

/// <summary>The API keys of the options, as hashes.</summary>
internal sealed class ApiKeys
{
    private readonly List<(byte[] Hash, ClaimsPrincipal Client)> _keys;

    public ApiKeys(IOptions<BoxerHttpOptions> options) => _keys = [.. options.Value.ApiKeys.Select(key => (Hash(key.Key), CreatePrincipal(key)))];

    /// <summary>Whether clients need a key.</summary>
    public bool AreRequired => _keys.Count > 0;

    /// <summary>Finds the client of a key. All hashes are compared, each in constant time, so that the duration reveals neither a key nor its position.</summary>
    public ClaimsPrincipal? Find(string presented)
    {
        byte[] hash = Hash(presented);
        ClaimsPrincipal? found = null;
        foreach ((byte[] known, ClaimsPrincipal client) in _keys)
        {
            found = CryptographicOperations.FixedTimeEquals(hash, known) ? client : found;
        }

        return found;
    }

    private static ClaimsPrincipal CreatePrincipal(BoxerApiKey key)
    {
        string name = Clients.HashedName("key-", "boxer file space\n", key.Key);
        List<Claim> claims = [new(ClaimTypes.NameIdentifier, name), new(BoxerHttpDefaults.ClientClaim, name)];
        claims.AddRange((key.AllowedNetworks is { Count: 0 } ? [""] : key.AllowedNetworks ?? []).Select(network => new Claim(BoxerHttpDefaults.NetworkClaim, network)));
        return new(new ClaimsIdentity(claims, BoxerHttpDefaults.AuthenticationScheme));
    }

    private static byte[] Hash(string key) => SHA256.HashData(Encoding.UTF8.GetBytes(key));
}

/// <summary>Authenticates requests by API key. A missing key is rejected with 401, an unknown key with 403.</summary>
internal sealed class KeyAuthenticationHandler(
    IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory loggers, UrlEncoder encoder, ApiKeys keys, ILogger<ApiKeys> logger)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, loggers, encoder)
{
    protected override Task<AuthenticateResult> HandleAuthenticateAsync() =>
        Task.FromResult(
            !keys.AreRequired || PresentedKey(Request) is not { } presented ? AuthenticateResult.NoResult()
            : keys.Find(presented) is { } client ? AuthenticateResult.Success(new AuthenticationTicket(client, Scheme.Name))
            : AuthenticateResult.Fail("The API key is unknown."));

    protected override async Task HandleChallengeAsync(AuthenticationProperties properties)
    {
        if ((await HandleAuthenticateOnceSafeAsync()).Failure is null)
        {
            Response.Headers.WWWAuthenticate = "Bearer";
            HttpLog.Rejected(logger, Context.Connection.RemoteIpAddress, "it has no API key.");
            await ApiResponse.Failed(StatusCodes.Status401Unauthorized, "an API key is required; send it as Authorization: Bearer KEY or as X-API-Key: KEY.").WriteAsync(Context);
            return;
        }

        HttpLog.Rejected(logger, Context.Connection.RemoteIpAddress, "its API key is not one of this host's.");
        await ApiResponse.Failed(StatusCodes.Status403Forbidden, "the API key is not one of this host's.").WriteAsync(Context);
    }

    protected override Task HandleForbiddenAsync(AuthenticationProperties properties) =>
        ApiResponse.Failed(StatusCodes.Status403Forbidden, "the API key does not allow this.").WriteAsync(Context);

    private static string? PresentedKey(HttpRequest request)
    {
        const string Bearer = "Bearer ";
        string authorization = request.Headers.Authorization.ToString();
        return authorization.StartsWith(Bearer, StringComparison.OrdinalIgnoreCase) ? authorization[Bearer.Length..].Trim()
            : request.Headers.TryGetValue("X-API-Key", out var key) ? key.ToString()
            : null;
    }
}

/// <summary>Requires an API key if any is set.</summary>
internal sealed class KeyRequirement : IAuthorizationRequirement;

/// <summary>Evaluates <see cref="KeyRequirement"/>.</summary>
internal sealed class KeyRequirementHandler(ApiKeys keys) : AuthorizationHandler<KeyRequirement>
{
    protected override Task HandleRequirementAsync(AuthorizationHandlerContext context, KeyRequirement requirement)
    {
        if (!keys.AreRequired || context.User.Identities.Any(identity => identity is { IsAuthenticated: true, AuthenticationType: BoxerHttpDefaults.AuthenticationScheme }))
        {
            context.Succeed(requirement);
        }

        return Task.CompletedTask;
    }
}
