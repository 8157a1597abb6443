using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Boxer.Images.Manifests;

namespace Boxer.Images.Registry;

/// <summary>Authorizes this process at one repository, as its challenges require: with a token (distribution's token specification) or a password.</summary>
/// <param name="http">Sends the requests for tokens.</param>
/// <param name="endpoints">Addresses that requests may go to.</param>
/// <param name="endpoint">The endpoint of the repository.</param>
/// <param name="repository">The repository's name.</param>
/// <param name="credentials">Source of credentials; <see langword="null"/>: anonymous access.</param>
/// <param name="responses">Reads responses.</param>
internal sealed class RegistryAuthorizer(
    RegistryHttp http, RegistryEndpoints endpoints, RegistryEndpoint endpoint, string repository, IRegistryCredentials? credentials, RegistryResponses responses) : IDisposable
{
    private const int MaxTokenBytes = 1024 * 1024;
    private readonly SemaphoreSlim _authorizing = new(1, 1);

    /// <summary>The authorization for requests to the endpoint; <see langword="null"/>: none yet.</summary>
    public AuthenticationHeaderValue? Current { get; private set; }

    /// <summary>Gets the authorization that a response with status 401 asks for, into <see cref="Current"/>.</summary>
    /// <param name="response">The response.</param>
    /// <param name="sent">The authorization that was sent with the request.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="RegistryException">The endpoint cannot be authorized at.</exception>
    public async Task AuthorizeAsync(HttpResponseMessage response, AuthenticationHeaderValue? sent, CancellationToken cancellationToken)
    {
        IReadOnlyList<AuthChallenge> challenges = AuthChallenge.Read(response.Headers.WwwAuthenticate);
        AuthChallenge? bearer = challenges.FirstOrDefault(challenge => challenge.Scheme == "bearer" && challenge.Parameters.ContainsKey("realm"));
        if (bearer is null && !challenges.Any(challenge => challenge.Scheme == "basic"))
        {
            throw new RegistryException($"{endpoint} answered 401 without saying how to authenticate");
        }

        await _authorizing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            // The request of another layer may have been authorized meanwhile.
            if (Current is null || Current.Equals(sent))
            {
                RegistryCredential? credential = await FindCredentialAsync(cancellationToken).ConfigureAwait(false);
                Current = bearer is not null
                    ? new AuthenticationHeaderValue("Bearer", await GetTokenAsync(bearer, credential, cancellationToken).ConfigureAwait(false))
                    : BasicOf(credential, sent);
            }
        }
        finally
        {
            _authorizing.Release();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _authorizing.Dispose();

    private async Task<RegistryCredential?> FindCredentialAsync(CancellationToken cancellationToken)
    {
        try
        {
            return credentials is null ? null : await credentials.FindAsync(endpoint.Registry, cancellationToken).ConfigureAwait(false);
        }
        catch (InvalidDataException fault)
        {
            throw new RegistryException(fault.Message, RegistryFaultKind.Failed, fault);
        }
    }

    private AuthenticationHeaderValue BasicOf(RegistryCredential? credential, AuthenticationHeaderValue? sent) =>
        credential?.UserName is null ? throw new RegistryException($"{endpoint} needs a user name and password; log in to it, and name the file with the credentials in DockerConfigPath")
        : sent is not null ? throw responses.CredentialRejected()
        : Basic(credential);

    private static AuthenticationHeaderValue Basic(RegistryCredential credential) =>
        new("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes($"{credential.UserName}:{credential.Secret}")));

    private async Task<string> GetTokenAsync(AuthChallenge challenge, RegistryCredential? credential, CancellationToken cancellationToken)
    {
        Uri address = ReadRealm(challenge.Parameters["realm"], credential);
        using HttpRequestMessage request = TokenRequest(address, challenge.Parameters.GetValueOrDefault("service"), credential);
        using HttpResponseMessage response = await http.SendAsync(endpoint, request, cancellationToken).ConfigureAwait(false);
        if (response.StatusCode is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden)
        {
            throw credential is null ? responses.NotVisible() : responses.CredentialRejected();
        }

        if (response.StatusCode != HttpStatusCode.OK)
        {
            throw await responses.FaultAsync(response, "token", isManifest: false, Current?.Scheme, cancellationToken).ConfigureAwait(false);
        }

        byte[] content = await responses.ReadAsync(response, MaxTokenBytes, "the token", cancellationToken).ConfigureAwait(false);
        try
        {
            TokenJson? json = JsonSerializer.Deserialize(content, RegistryJson.Default.TokenJson);
            string? token = string.IsNullOrEmpty(json?.Token) ? json?.AccessToken : json.Token;
            return !string.IsNullOrEmpty(token) && token.All(char.IsAscii) && !token.Any(c => char.IsControl(c) || c == ' ')
                ? token
                : throw new RegistryException($"the token service {address.Authority} returned no token");
        }
        catch (JsonException fault)
        {
            throw new RegistryException($"the token service {address.Authority} returned a malformed response", RegistryFaultKind.Failed, fault);
        }
    }

    private HttpRequestMessage TokenRequest(Uri address, string? service, RegistryCredential? credential)
    {
        // The least that a pull needs, whatever scope the challenge names.
        string scope = $"repository:{repository}:pull";
        var request = new HttpRequestMessage();
        if (credential is { UserName: null })
        {
            request.Method = HttpMethod.Post;
            request.RequestUri = address;
            request.Content = new FormUrlEncodedContent(
                new Dictionary<string, string> { ["grant_type"] = "refresh_token", ["service"] = service ?? "", ["scope"] = scope, ["client_id"] = "boxer", ["refresh_token"] = credential.Secret });
        }
        else
        {
            string query = (service is null ? "" : $"service={Uri.EscapeDataString(service)}&") + $"scope={Uri.EscapeDataString(scope)}";
            request.RequestUri = new UriBuilder(address) { Query = (address.Query.Length > 1 ? address.Query[1..] + "&" : "") + query }.Uri;
            request.Headers.Authorization = credential is null ? null : Basic(credential);
        }

        return request;
    }

    // The endpoint names the token service. A secret is sent only to a service that belongs to the endpoint, or that the operator allows.
    private Uri ReadRealm(string realm, RegistryCredential? credential)
    {
        if (!Uri.TryCreate(realm, UriKind.Absolute, out Uri? address) || address.UserInfo.Length > 0
            || !(address.Scheme == Uri.UriSchemeHttps
                || (address.Scheme == Uri.UriSchemeHttp && endpoint.BaseAddress.Scheme == Uri.UriSchemeHttp && endpoints.MayBePlain(address))))
        {
            throw new RegistryException($"{endpoint} names a token service that is rejected because it is not https");
        }

        return credential is null || endpoint.Has(address) || IsRelated(address.IdnHost, endpoint.BaseAddress.IdnHost) || endpoints.MayBePrivate(address.IdnHost, address.Port)
            ? address
            : throw new RegistryException($"{endpoint} names the token service {address.Authority}, which is not given the credential of {endpoint.Registry}; list {address.Authority} in AllowedRegistries if it may have it");
    }

    // Two hosts are related if their last two labels are equal: registry.example.com and auth.example.com.
    private static bool IsRelated(string host, string other)
    {
        string[] labels = host.Split('.');
        return labels.Length >= 2 && Uri.CheckHostName(host) == UriHostNameType.Dns
            && other.EndsWith($".{labels[^2]}.{labels[^1]}", StringComparison.OrdinalIgnoreCase);
    }
}
