using System.Net;
using System.Net.Http.Headers;
using Boxer.Images.Manifests;

namespace Boxer.Images.Registry;

/// <summary>
/// One repository at one endpoint, accessed anonymously or with a credential. Transient failures are retried, and an interrupted download of a blob
/// resumes where it stopped.
/// </summary>
internal sealed class RegistryRepository : IImageContent
{
    private const int MaxRedirects = 5;

    private readonly RegistryHttp _http;
    private readonly RegistryEndpoints _endpoints;
    private readonly RegistryEndpoint _endpoint;
    private readonly ImageReference _reference;
    private readonly RegistryResponses _responses;
    private readonly RegistryAuthorizer _authorizer;

    /// <summary>Opens a repository. No request is sent yet.</summary>
    /// <param name="http">Sends the requests.</param>
    /// <param name="endpoints">Addresses that requests may go to.</param>
    /// <param name="endpoint">The endpoint of the repository.</param>
    /// <param name="reference">The image.</param>
    /// <param name="credentials">Source of credentials; <see langword="null"/>: anonymous access.</param>
    /// <param name="time">The clock.</param>
    public RegistryRepository(
        RegistryHttp http, RegistryEndpoints endpoints, RegistryEndpoint endpoint, ImageReference reference, IRegistryCredentials? credentials, TimeProvider time)
    {
        _http = http;
        _endpoints = endpoints;
        _endpoint = endpoint;
        _reference = reference;
        _responses = new(endpoint, reference.Repository, time);
        _authorizer = new(http, endpoints, endpoint, reference.Repository, credentials, _responses);
    }

    /// <summary>Whether the endpoint has answered. A later failure to connect is that of another host, or temporary.</summary>
    public bool IsReached { get; private set; }

    /// <inheritdoc/>
    public Task<FetchedManifest> GetManifestAsync(CancellationToken cancellationToken) =>
        ImageDigest.TryParse(_reference.Digest, out ImageDigest digest)
            ? GetManifestAsync(digest, cancellationToken)
            : GetManifestAsync(_reference.Tag!, null, cancellationToken);

    /// <inheritdoc/>
    public Task<FetchedManifest> GetManifestAsync(ImageDigest digest, CancellationToken cancellationToken) =>
        GetManifestAsync(digest.ToString(), digest, cancellationToken);

    /// <inheritdoc/>
    public string Origin => _endpoint.BaseAddress.AbsoluteUri;

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
            // An endpoint that does not support HEAD is asked for the blob itself.
            return false;
        }
    }

    /// <inheritdoc/>
    public async Task<Stream> OpenBlobAsync(ImageDescriptor descriptor, CancellationToken cancellationToken)
    {
        var blob = new ResumingStream(
            (offset, token) => _http.RetryAsync(async attempt => await OpenBlobAsync(descriptor, offset, attempt).ConfigureAwait(false), token).AsTask(),
            descriptor.Size,
            $"blob {descriptor.Digest}");
        await blob.OpenAsync(cancellationToken).ConfigureAwait(false);
        return blob;
    }

    /// <inheritdoc/>
    public void Dispose() => _authorizer.Dispose();

    private async Task<Stream> OpenBlobAsync(ImageDescriptor descriptor, long offset, CancellationToken cancellationToken)
    {
        string what = $"blob {descriptor.Digest}";
        HttpResponseMessage response = await GetAsync($"blobs/{descriptor.Digest}", [], offset, cancellationToken).ConfigureAwait(false);
        try
        {
            // An endpoint without support for ranges starts at the beginning.
            long start = response.StatusCode == HttpStatusCode.PartialContent ? offset : 0;
            if (response.StatusCode != HttpStatusCode.OK && (start == 0 || response.Content.Headers.ContentRange is not { } range || range.From != offset))
            {
                throw await _responses.FaultAsync(response, what, isManifest: false, _authorizer.Current?.Scheme, cancellationToken).ConfigureAwait(false);
            }

            if (response.Content.Headers.ContentLength is { } length && length != descriptor.Size - start)
            {
                throw new RegistryException($"{what} has {start + length} bytes instead of the {descriptor.Size} that its manifest names").AsPublic();
            }

            ResponseStream body = await _responses.OpenAsync(response, what, cancellationToken).ConfigureAwait(false);
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
            bytes -= length > 0 ? length : throw new RegistryException($"{what} ended before the position of its interruption", RegistryFaultKind.Transient);
        }
    }

    private async Task<FetchedManifest> GetManifestAsync(string name, ImageDigest? expected, CancellationToken cancellationToken) =>
        await _http.RetryAsync(async token => await TryGetManifestAsync(name, expected, token).ConfigureAwait(false), cancellationToken).ConfigureAwait(false);

    private async Task<FetchedManifest> TryGetManifestAsync(string name, ImageDigest? expected, CancellationToken cancellationToken)
    {
        using HttpResponseMessage response = await GetAsync($"manifests/{name}", ImageMediaTypes.AcceptedManifests, 0, cancellationToken)
            .ConfigureAwait(false);
        if (response.StatusCode != HttpStatusCode.OK)
        {
            throw await _responses.FaultAsync(response, $"manifest {name}", isManifest: true, _authorizer.Current?.Scheme, cancellationToken).ConfigureAwait(false);
        }

        byte[] content = await _responses.ReadAsync(response, ImageContent.MaxManifestBytes, "the manifest", cancellationToken).ConfigureAwait(false);
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
        var address = new Uri(_endpoint.BaseAddress, $"v2/{_reference.Repository}/{path}");
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

            // The authorization is sent to this endpoint only, and to no other host, port or scheme.
            bool isAtEndpoint = _endpoint.Has(address);
            AuthenticationHeaderValue? authorization = isAtEndpoint ? _authorizer.Current : null;
            request.Headers.Authorization = authorization;
            HttpResponseMessage response = await _http.SendAsync(_endpoint, request, cancellationToken).ConfigureAwait(false);
            IsReached = true;
            try
            {
                if (response.StatusCode == HttpStatusCode.Unauthorized && isAtEndpoint && !authorized)
                {
                    authorized = true;
                    await _authorizer.AuthorizeAsync(response, authorization, cancellationToken).ConfigureAwait(false);
                    response.Dispose();
                    continue;
                }

                if ((int)response.StatusCode is not (301 or 302 or 303 or 307 or 308))
                {
                    return response;
                }

                if (++redirects > MaxRedirects)
                {
                    throw new RegistryException($"{_endpoint} redirects more than {MaxRedirects} times");
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
            throw new RegistryException($"{from.Authority} redirects without a valid location");
        }

        bool allowed = target.Scheme == Uri.UriSchemeHttps
            || (target.Scheme == Uri.UriSchemeHttp && from.Scheme == Uri.UriSchemeHttp && _endpoints.MayBePlain(target));
        return allowed ? target : throw new RegistryException($"{from.Authority} redirects to {target.Scheme}://{target.Authority}, which is rejected because it is not https");
    }
}
