using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;

namespace Boxer.Images;

/// <summary>A manifest as a place gave it, with the digest that it was verified against or that it has.</summary>
/// <param name="Content">Its bytes.</param>
/// <param name="MediaType">What the place calls it.</param>
/// <param name="Digest">Its digest.</param>
internal sealed record FetchedManifest(byte[] Content, string? MediaType, ImageDigest Digest);

/// <summary>One repository at one place, asked anonymously or with a token that the place hands out to everybody.</summary>
internal sealed class RegistryRepository : IImageContent
{
    private const int MaxTokenBytes = 1024 * 1024;
    private const int MaxErrorBytes = 64 * 1024;
    private const int MaxRedirects = 5;

    // A place that asks for longer is given up, so that the next one is tried.
    private static readonly TimeSpan MaxRetryAfter = TimeSpan.FromSeconds(60);

    private readonly RegistryClient _client;
    private readonly RegistryPlaces _places;
    private readonly RegistryPlace _place;
    private readonly ImageReference _reference;
    private readonly SemaphoreSlim _tokenLock = new(1, 1);
    private string? _token;

    /// <summary>Opens a repository.</summary>
    /// <param name="client">The client that it sends with.</param>
    /// <param name="places">Where it may go.</param>
    /// <param name="place">The place.</param>
    /// <param name="reference">The image.</param>
    public RegistryRepository(RegistryClient client, RegistryPlaces places, RegistryPlace place, ImageReference reference)
    {
        _client = client;
        _places = places;
        _place = place;
        _reference = reference;
    }

    /// <summary>Gets the manifest that the reference names.</summary>
    /// <param name="cancellationToken">Gives up.</param>
    public Task<FetchedManifest> GetManifestAsync(CancellationToken cancellationToken) =>
        ImageDigest.TryParse(_reference.Digest, out ImageDigest digest)
            ? GetManifestAsync(digest, cancellationToken)
            : GetManifestAsync(_reference.Tag!, null, cancellationToken);

    /// <summary>Gets a manifest by its digest.</summary>
    /// <param name="digest">The digest.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public Task<FetchedManifest> GetManifestAsync(ImageDigest digest, CancellationToken cancellationToken) =>
        GetManifestAsync(digest.ToString(), digest, cancellationToken);

    /// <summary>Opens a blob as it comes, not verified.</summary>
    /// <param name="descriptor">Its descriptor.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<Stream> OpenBlobAsync(ImageDescriptor descriptor, CancellationToken cancellationToken)
    {
        string what = $"blob {descriptor.Digest}";
        HttpResponseMessage response = await GetAsync($"blobs/{descriptor.Digest}", [], cancellationToken).ConfigureAwait(false);
        try
        {
            if (response.StatusCode != HttpStatusCode.OK)
            {
                throw await FaultAsync(response, what, isManifest: false, cancellationToken).ConfigureAwait(false);
            }

            if (response.Content.Headers.ContentLength is { } length && length != descriptor.Size)
            {
                throw new RegistryException($"{what} has {length} bytes instead of the {descriptor.Size} that its manifest names");
            }

            Stream body = await response.Content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false);
            return new ResponseStream(response, body, what);
        }
        catch
        {
            response.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _tokenLock.Dispose();

    private async Task<FetchedManifest> GetManifestAsync(string name, ImageDigest? expected, CancellationToken cancellationToken)
    {
        using HttpResponseMessage response = await GetAsync($"manifests/{name}", ImageMediaTypes.AcceptedManifests, cancellationToken)
            .ConfigureAwait(false);
        if (response.StatusCode != HttpStatusCode.OK)
        {
            throw await FaultAsync(response, $"manifest {name}", isManifest: true, cancellationToken).ConfigureAwait(false);
        }

        byte[] content = await ReadAsync(response, ImageContent.MaxManifestBytes, "the manifest", cancellationToken).ConfigureAwait(false);
        if (expected is null && response.Headers.TryGetValues("Docker-Content-Digest", out IEnumerable<string>? values))
        {
            expected = ImageDigest.TryParse(values.First(), out ImageDigest stated)
                ? stated
                : throw new RegistryException("the digest that came with the manifest is malformed");
        }

        ImageDigest actual = expected?.Of(content) ?? ImageDigest.Sha256Of(content);
        if (expected is not null && actual != expected)
        {
            throw new RegistryException($"manifest {name} has the digest {actual} instead of {expected}");
        }

        return new(content, response.Content.Headers.ContentType?.MediaType, actual);
    }

    private async Task<HttpResponseMessage> GetAsync(string path, IReadOnlyList<string> accept, CancellationToken cancellationToken)
    {
        var address = new Uri(_place.BaseAddress, $"v2/{_reference.Repository}/{path}");
        bool authenticated = false;
        for (int redirects = 0; ;)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, address);
            foreach (string mediaType in accept)
            {
                request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue(mediaType));
            }

            // The token is this place's alone: it goes to no other host, port or scheme.
            bool atPlace = IsAtPlace(address);
            string? token = atPlace ? _token : null;
            if (token is not null)
            {
                request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
            }

            HttpResponseMessage response = await _client.SendAsync(request, cancellationToken).ConfigureAwait(false);
            try
            {
                if (response.StatusCode == HttpStatusCode.Unauthorized && atPlace && !authenticated)
                {
                    authenticated = true;
                    if (await AuthenticateAsync(response, token, cancellationToken).ConfigureAwait(false))
                    {
                        response.Dispose();
                        continue;
                    }
                }

                if ((int)response.StatusCode is not (301 or 302 or 303 or 307 or 308))
                {
                    return response;
                }

                if (++redirects > MaxRedirects)
                {
                    throw new RegistryException($"{_place} redirects more than {MaxRedirects} times");
                }

                address = Redirected(address, response.Headers.Location);
                response.Dispose();
            }
            catch
            {
                response.Dispose();
                throw;
            }
        }
    }

    private bool IsAtPlace(Uri address) =>
        Uri.Compare(address, _place.BaseAddress, UriComponents.SchemeAndServer, UriFormat.SafeUnescaped, StringComparison.OrdinalIgnoreCase) == 0;

    private Uri Redirected(Uri from, Uri? location)
    {
        if (location is null || !Uri.TryCreate(from, location, out Uri? target) || target.UserInfo.Length > 0)
        {
            throw new RegistryException($"{from.Authority} redirects to nowhere");
        }

        bool allowed = target.Scheme == Uri.UriSchemeHttps
            || (target.Scheme == Uri.UriSchemeHttp && from.Scheme == Uri.UriSchemeHttp && _places.MayBePlain(target));
        return allowed ? target : throw new RegistryException($"{from.Authority} redirects to {target.Scheme}://{target.Authority}, which is refused because it is not https");
    }

    /// <returns>Whether there is a token now that was not sent with the response's request.</returns>
    private async Task<bool> AuthenticateAsync(HttpResponseMessage response, string? sent, CancellationToken cancellationToken)
    {
        IReadOnlyList<AuthChallenge> challenges = AuthChallenge.Read(response.Headers.WwwAuthenticate);
        AuthChallenge? bearer = challenges.FirstOrDefault(challenge => challenge.Scheme == "bearer" && challenge.Parameters.ContainsKey("realm"));
        if (bearer is null)
        {
            throw new RegistryException(challenges.Any(challenge => challenge.Scheme == "basic")
                ? $"{_place} needs a user name and password; only images that anybody may pull can be used"
                : $"{_place} answered 401 without saying how to authenticate");
        }

        await _tokenLock.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            // Another layer's request may have got one meanwhile.
            if (_token is null || _token == sent)
            {
                _token = await GetTokenAsync(bearer, cancellationToken).ConfigureAwait(false);
            }

            return true;
        }
        finally
        {
            _tokenLock.Release();
        }
    }

    private async Task<string> GetTokenAsync(AuthChallenge challenge, CancellationToken cancellationToken)
    {
        string realm = challenge.Parameters["realm"];
        if (!Uri.TryCreate(realm, UriKind.Absolute, out Uri? address) || address.UserInfo.Length > 0
            || !(address.Scheme == Uri.UriSchemeHttps
                || (address.Scheme == Uri.UriSchemeHttp && _place.BaseAddress.Scheme == Uri.UriSchemeHttp && _places.MayBePlain(address))))
        {
            throw new RegistryException($"{_place} names a token service that is refused because it is not https");
        }

        var query = new List<string>();
        if (challenge.Parameters.TryGetValue("service", out string? service))
        {
            query.Add($"service={Uri.EscapeDataString(service)}");
        }

        // Never more than is needed, whatever scope the place asks for.
        query.Add($"scope={Uri.EscapeDataString($"repository:{_reference.Repository}:pull")}");
        address = new UriBuilder(address) { Query = (address.Query.Length > 1 ? address.Query[1..] + "&" : "") + string.Join('&', query) }.Uri;

        using var request = new HttpRequestMessage(HttpMethod.Get, address);
        using HttpResponseMessage response = await _client.SendAsync(request, cancellationToken).ConfigureAwait(false);
        if (response.StatusCode is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden)
        {
            throw NotShown();
        }

        if (response.StatusCode != HttpStatusCode.OK)
        {
            throw await FaultAsync(response, "token", isManifest: false, cancellationToken).ConfigureAwait(false);
        }

        byte[] content = await ReadAsync(response, MaxTokenBytes, "the token", cancellationToken).ConfigureAwait(false);
        try
        {
            TokenJson? json = JsonSerializer.Deserialize(content, RegistryJson.Default.TokenJson);
            string? token = string.IsNullOrEmpty(json?.Token) ? json?.AccessToken : json.Token;
            return !string.IsNullOrEmpty(token) && token.All(char.IsAscii) && !token.Any(c => char.IsControl(c) || c == ' ')
                ? token
                : throw new RegistryException($"the token service {address.Authority} gave no token");
        }
        catch (JsonException fault)
        {
            throw new RegistryException($"the token service {address.Authority} gave a malformed answer", RegistryFaultKind.Failed, fault);
        }
    }

    private RegistryException NotShown() =>
        new($"{_reference.Repository} does not exist at {_place} or needs credentials", RegistryFaultKind.NotFound);

    private async Task<RegistryException> FaultAsync(HttpResponseMessage response, string what, bool isManifest, CancellationToken cancellationToken)
    {
        var status = (int)response.StatusCode;
        string code = await ErrorCodeAsync(response, cancellationToken).ConfigureAwait(false);
        string text = $"{_place} answered {status}{(code.Length > 0 ? " " + code : "")} for {what} of {_reference.Repository}";
        if (status == 404 && isManifest)
        {
            return new(text, RegistryFaultKind.NotFound);
        }

        if (status is 401 or 403 && _token is not null)
        {
            return NotShown();
        }

        if (status is 408 or 429 or 500 or 502 or 503 or 504)
        {
            TimeSpan? retryAfter = response.Headers.RetryAfter?.Delta;
            return new(
                retryAfter > MaxRetryAfter ? $"{text} and asks to be left alone for {retryAfter.Value.TotalSeconds.ToString("0", CultureInfo.InvariantCulture)} s" : text,
                retryAfter > MaxRetryAfter ? RegistryFaultKind.Failed : RegistryFaultKind.Transient)
            {
                RetryAfter = retryAfter,
            };
        }

        return new(text);
    }

    /// <returns>The first error code of the distribution protocol in the body; empty if there is none.</returns>
    private static async Task<string> ErrorCodeAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        try
        {
            byte[] content = await ReadAsync(response, MaxErrorBytes, "the error", cancellationToken).ConfigureAwait(false);
            string? code = JsonSerializer.Deserialize(content, RegistryJson.Default.ErrorsJson)?.Errors?.FirstOrDefault()?.Code;
            return code is { Length: > 0 and <= 64 } && code.All(c => char.IsAsciiLetterOrDigit(c) || c == '_') ? code : "";
        }
        catch (Exception fault) when (fault is JsonException or RegistryException)
        {
            // Proxies and load balancers answer with anything; the status says enough.
            return "";
        }
    }

    private static async Task<byte[]> ReadAsync(HttpResponseMessage response, int limit, string what, CancellationToken cancellationToken)
    {
        using Stream body = new ResponseStream(response, await response.Content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false), what);
        using var content = new MemoryStream();
        var buffer = new byte[32 * 1024];
        int length;
        while ((length = await body.ReadAsync(buffer, cancellationToken).ConfigureAwait(false)) > 0)
        {
            if (content.Length + length > limit)
            {
                throw new RegistryException($"{what} is longer than {limit} bytes");
            }

            content.Write(buffer, 0, length);
        }

        return content.ToArray();
    }
}
