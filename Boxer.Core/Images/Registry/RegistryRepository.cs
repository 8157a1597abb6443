using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Boxer.Images.Manifests;

namespace Boxer.Images.Registry;

/// <summary>
/// One repository at one place, asked as anybody or with the credential that is known for the place. What fails for now is tried again,
/// and a blob goes on where it broke off.
/// </summary>
internal sealed class RegistryRepository : IImageContent
{
    private const int MaxTokenBytes = 1024 * 1024;
    private const int MaxErrorBytes = 64 * 1024;
    private const int MaxRedirects = 5;

    // A place that asks for longer is given up, so that the next one is tried.
    private static readonly TimeSpan MaxRetryAfter = TimeSpan.FromSeconds(60);

    private readonly RegistryHttp _client;
    private readonly RegistryEndpoints _places;
    private readonly RegistryEndpoint _place;
    private readonly ImageReference _reference;
    private readonly IRegistryCredentials? _credentials;
    private readonly TimeProvider _time;
    private readonly SemaphoreSlim _authorizing = new(1, 1);
    private AuthenticationHeaderValue? _authorization;

    /// <summary>Opens a repository.</summary>
    /// <param name="client">The client that it sends with.</param>
    /// <param name="places">Where it may go.</param>
    /// <param name="place">The place.</param>
    /// <param name="reference">The image.</param>
    /// <param name="credentials">Knows who this process is at the place; <see langword="null"/>: anybody.</param>
    /// <param name="time">The clock.</param>
    public RegistryRepository(
        RegistryHttp client, RegistryEndpoints places, RegistryEndpoint place, ImageReference reference, IRegistryCredentials? credentials, TimeProvider time)
    {
        _credentials = credentials;
        _time = time;
        _client = client;
        _places = places;
        _place = place;
        _reference = reference;
    }

    /// <summary>Whether the place answered: what cannot be reached after that is elsewhere, or only now.</summary>
    public bool IsReached { get; private set; }

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

    /// <inheritdoc/>
    public string Origin => _place.BaseAddress.AbsoluteUri;

    /// <inheritdoc/>
    public async Task<bool> HasBlobAsync(ImageDescriptor descriptor, CancellationToken cancellationToken)
    {
        try
        {
            using HttpResponseMessage response = await SendAsync(HttpMethod.Head, $"blobs/{descriptor.Digest}", [], 0, cancellationToken).ConfigureAwait(false);
            return response.StatusCode == HttpStatusCode.OK && (response.Content.Headers.ContentLength ?? descriptor.Size) == descriptor.Size;
        }
        catch (RegistryException)
        {
            // Places that do not know the question are asked for the blob itself.
            return false;
        }
    }

    /// <summary>Opens a blob as it comes, not verified.</summary>
    /// <param name="descriptor">Its descriptor.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<Stream> OpenBlobAsync(ImageDescriptor descriptor, CancellationToken cancellationToken)
    {
        var blob = new ResumingStream(
            (offset, token) => _client.RetryAsync(async attempt => await OpenBlobAsync(descriptor, offset, attempt).ConfigureAwait(false), token).AsTask(),
            descriptor.Size,
            $"blob {descriptor.Digest}");
        await blob.OpenAsync(cancellationToken).ConfigureAwait(false);
        return blob;
    }

    /// <inheritdoc/>
    public void Dispose() => _authorizing.Dispose();

    private async Task<Stream> OpenBlobAsync(ImageDescriptor descriptor, long offset, CancellationToken cancellationToken)
    {
        string what = $"blob {descriptor.Digest}";
        HttpResponseMessage response = await GetAsync($"blobs/{descriptor.Digest}", [], offset, cancellationToken).ConfigureAwait(false);
        try
        {
            // A place may know nothing of ranges and begin anew.
            long start = response.StatusCode == HttpStatusCode.PartialContent ? offset : 0;
            if (response.StatusCode != HttpStatusCode.OK && (start == 0 || response.Content.Headers.ContentRange is not { } range || range.From != offset))
            {
                throw await FaultAsync(response, what, isManifest: false, cancellationToken).ConfigureAwait(false);
            }

            if (response.Content.Headers.ContentLength is { } length && length != descriptor.Size - start)
            {
                throw new RegistryException($"{what} has {start + length} bytes instead of the {descriptor.Size} that its manifest names").AsPublic();
            }

            var body = new ResponseStream(response, await response.Content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false), what, _time);
            await SkipAsync(body, offset - start, what, cancellationToken).ConfigureAwait(false);
            return body;
        }
        catch
        {
            response.Dispose();
            throw;
        }
    }

    private static async Task SkipAsync(ResponseStream body, long bytes, string what, CancellationToken cancellationToken)
    {
        var buffer = new byte[64 * 1024];
        while (bytes > 0)
        {
            int length = await body.ReadAsync(buffer.AsMemory(0, (int)Math.Min(bytes, buffer.Length)), cancellationToken).ConfigureAwait(false);
            bytes -= length > 0 ? length : throw new RegistryException($"{what} ended before where it broke off", RegistryFaultKind.Transient);
        }
    }

    private async Task<FetchedManifest> GetManifestAsync(string name, ImageDigest? expected, CancellationToken cancellationToken) =>
        await _client.RetryAsync(async token => await TryGetManifestAsync(name, expected, token).ConfigureAwait(false), cancellationToken).ConfigureAwait(false);

    private async Task<FetchedManifest> TryGetManifestAsync(string name, ImageDigest? expected, CancellationToken cancellationToken)
    {
        using HttpResponseMessage response = await GetAsync($"manifests/{name}", ImageMediaTypes.AcceptedManifests, 0, cancellationToken)
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
            throw new RegistryException($"manifest {name} has the digest {actual} instead of {expected}").AsPublic();
        }

        return new(content, response.Content.Headers.ContentType?.MediaType, actual);
    }

    private Task<HttpResponseMessage> GetAsync(string path, IReadOnlyList<string> accept, long offset, CancellationToken cancellationToken) =>
        SendAsync(HttpMethod.Get, path, accept, offset, cancellationToken);

    private async Task<HttpResponseMessage> SendAsync(HttpMethod method, string path, IReadOnlyList<string> accept, long offset, CancellationToken cancellationToken)
    {
        var address = new Uri(_place.BaseAddress, $"v2/{_reference.Repository}/{path}");
        bool authorized = false;
        for (int redirects = 0; ;)
        {
            using var request = new HttpRequestMessage(method, address);
            foreach (string mediaType in accept)
            {
                request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue(mediaType));
            }

            if (offset > 0)
            {
                request.Headers.Range = new RangeHeaderValue(offset, null);
            }

            // What this process is authorized by is this place's alone: it goes to no other host, port or scheme.
            bool atPlace = _place.Has(address);
            AuthenticationHeaderValue? authorization = atPlace ? _authorization : null;
            request.Headers.Authorization = authorization;
            HttpResponseMessage response = await _client.SendAsync(_place, request, cancellationToken).ConfigureAwait(false);
            IsReached = true;
            try
            {
                if (response.StatusCode == HttpStatusCode.Unauthorized && atPlace && !authorized)
                {
                    authorized = true;
                    await AuthorizeAsync(response, authorization, cancellationToken).ConfigureAwait(false);
                    response.Dispose();
                    continue;
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

    private async Task AuthorizeAsync(HttpResponseMessage response, AuthenticationHeaderValue? sent, CancellationToken cancellationToken)
    {
        IReadOnlyList<AuthChallenge> challenges = AuthChallenge.Read(response.Headers.WwwAuthenticate);
        AuthChallenge? bearer = challenges.FirstOrDefault(challenge => challenge.Scheme == "bearer" && challenge.Parameters.ContainsKey("realm"));
        if (bearer is null && !challenges.Any(challenge => challenge.Scheme == "basic"))
        {
            throw new RegistryException($"{_place} answered 401 without saying how to authenticate");
        }

        await _authorizing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            // Another layer's request may have been authorized meanwhile.
            if (_authorization is null || _authorization.Equals(sent))
            {
                RegistryCredential? credential = await FindCredentialAsync(cancellationToken).ConfigureAwait(false);
                _authorization = bearer is not null
                    ? new AuthenticationHeaderValue("Bearer", await GetTokenAsync(bearer, credential, cancellationToken).ConfigureAwait(false))
                    : BasicOf(credential, sent);
            }
        }
        finally
        {
            _authorizing.Release();
        }
    }

    private async Task<RegistryCredential?> FindCredentialAsync(CancellationToken cancellationToken)
    {
        try
        {
            return _credentials is null ? null : await _credentials.FindAsync(_place.Registry, cancellationToken).ConfigureAwait(false);
        }
        catch (InvalidDataException fault)
        {
            throw new RegistryException(fault.Message, RegistryFaultKind.Failed, fault);
        }
    }

    private AuthenticationHeaderValue BasicOf(RegistryCredential? credential, AuthenticationHeaderValue? sent) =>
        credential?.UserName is null ? throw new RegistryException($"{_place} needs a user name and password; log in to it, and name the file with the credentials in DockerConfigPath")
        : sent is not null ? throw Refused()
        : Basic(credential);

    private static AuthenticationHeaderValue Basic(RegistryCredential credential) =>
        new("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes($"{credential.UserName}:{credential.Secret}")));

    private RegistryException Refused() => new($"{_place} refuses the credential that is known for {_place.Registry}; log in again");

    private async Task<string> GetTokenAsync(AuthChallenge challenge, RegistryCredential? credential, CancellationToken cancellationToken)
    {
        Uri address = ReadRealm(challenge.Parameters["realm"], credential);
        string? service = challenge.Parameters.GetValueOrDefault("service");

        // Never more than is needed, whatever scope the place asks for.
        string scope = $"repository:{_reference.Repository}:pull";
        using var request = new HttpRequestMessage();
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

        using HttpResponseMessage response = await _client.SendAsync(_place, request, cancellationToken).ConfigureAwait(false);
        if (response.StatusCode is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden)
        {
            throw credential is null ? NotShown() : Refused();
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

    // A token service is where the place says. A secret goes to none that has nothing to do with the place.
    private Uri ReadRealm(string realm, RegistryCredential? credential)
    {
        if (!Uri.TryCreate(realm, UriKind.Absolute, out Uri? address) || address.UserInfo.Length > 0
            || !(address.Scheme == Uri.UriSchemeHttps
                || (address.Scheme == Uri.UriSchemeHttp && _place.BaseAddress.Scheme == Uri.UriSchemeHttp && _places.MayBePlain(address))))
        {
            throw new RegistryException($"{_place} names a token service that is refused because it is not https");
        }

        return credential is null || _place.Has(address) || IsRelated(address.IdnHost, _place.BaseAddress.IdnHost) || _places.MayBePrivate(address.IdnHost, address.Port)
            ? address
            : throw new RegistryException($"{_place} names the token service {address.Authority}, which is not given the credential of {_place.Registry}; list {address.Authority} in AllowedRegistries if it may have it");
    }

    // Of one domain: the last two labels are the same, as those of registry.example.com and auth.example.com are.
    private static bool IsRelated(string host, string other)
    {
        string[] labels = host.Split('.');
        return labels.Length >= 2 && Uri.CheckHostName(host) == UriHostNameType.Dns
            && other.EndsWith($".{labels[^2]}.{labels[^1]}", StringComparison.OrdinalIgnoreCase);
    }

    private RegistryException NotShown() =>
        new RegistryException($"{_reference.Repository} does not exist at {_place} or needs credentials", RegistryFaultKind.NotFound)
            .AsPublic("it does not exist, or needs credentials that this host does not have");

    private async Task<RegistryException> FaultAsync(HttpResponseMessage response, string what, bool isManifest, CancellationToken cancellationToken)
    {
        var status = (int)response.StatusCode;
        string code = await ErrorCodeAsync(response, cancellationToken).ConfigureAwait(false);
        string text = $"{_place} answered {status}{(code.Length > 0 ? " " + code : "")} for {what} of {_reference.Repository}";
        if (status == 404 && isManifest)
        {
            return new(text, RegistryFaultKind.NotFound);
        }

        if (status is 401 or 403 && _authorization is not null)
        {
            return status == 401 && _authorization.Scheme == "Basic" ? Refused() : NotShown();
        }

        if (status is 408 or 429 or 500 or 502 or 503 or 504)
        {
            TimeSpan? retryAfter = response.Headers.RetryAfter?.Delta ?? (response.Headers.RetryAfter?.Date - _time.GetUtcNow());
            retryAfter = retryAfter < TimeSpan.Zero ? TimeSpan.Zero : retryAfter;
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
    private async Task<string> ErrorCodeAsync(HttpResponseMessage response, CancellationToken cancellationToken)
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

    private async Task<byte[]> ReadAsync(HttpResponseMessage response, int limit, string what, CancellationToken cancellationToken)
    {
        using Stream body = new ResponseStream(response, await response.Content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false), what, _time);
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
