using System.Globalization;
using System.Text.Json;
using Boxer.Images.Manifests;

namespace Boxer.Images.Registry;

/// <summary>Reads the responses of one repository: bodies of bounded size, and the faults that error statuses mean.</summary>
/// <param name="endpoint">The endpoint that is asked.</param>
/// <param name="repository">The repository's name.</param>
/// <param name="time">The clock of transfer rates and dates.</param>
internal sealed class RegistryResponses(RegistryEndpoint endpoint, string repository, TimeProvider time)
{
    private const int MaxErrorBytes = 64 * 1024;

    // An endpoint that asks for a longer wait is skipped, so that the next one is tried.
    private static readonly TimeSpan MaxRetryAfter = TimeSpan.FromSeconds(60);

    /// <summary>Opens the body of a response. Disposing it disposes the response.</summary>
    /// <param name="response">The response.</param>
    /// <param name="what">Name of the content, for messages.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    public async Task<ResponseStream> OpenAsync(HttpResponseMessage response, string what, CancellationToken cancellationToken) =>
        new(response, await response.Content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false), what, time);

    /// <summary>Reads the body of a response, and disposes the response.</summary>
    /// <param name="response">The response.</param>
    /// <param name="limit">Maximum size of the body in bytes.</param>
    /// <param name="what">Name of the content, for messages.</param>
    /// <param name="cancellationToken">Cancels the read.</param>
    /// <exception cref="RegistryException">The body is too long, or could not be read.</exception>
    public async Task<byte[]> ReadAsync(HttpResponseMessage response, int limit, string what, CancellationToken cancellationToken)
    {
        using Stream body = await OpenAsync(response, what, cancellationToken).ConfigureAwait(false);
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

    /// <summary>Creates the fault of a response with an error status.</summary>
    /// <param name="response">The response.</param>
    /// <param name="what">Name of the requested content, for messages.</param>
    /// <param name="isManifest">Whether a manifest was requested, so that status 404 means that there is no such image.</param>
    /// <param name="authorizationScheme">Scheme of the authorization in use; <see langword="null"/>: none.</param>
    /// <param name="cancellationToken">Cancels the read of the error code.</param>
    public async Task<RegistryException> FaultAsync(
        HttpResponseMessage response, string what, bool isManifest, string? authorizationScheme, CancellationToken cancellationToken)
    {
        var status = (int)response.StatusCode;
        string code = await ErrorCodeAsync(response, cancellationToken).ConfigureAwait(false);
        string text = $"{endpoint} answered {status}{(code.Length > 0 ? " " + code : "")} for {what} of {repository}";
        if (status == 404 && isManifest)
        {
            return new(text, RegistryFaultKind.NotFound);
        }

        if (status is 401 or 403 && authorizationScheme is not null)
        {
            return status == 401 && authorizationScheme == "Basic" ? CredentialRejected() : NotVisible();
        }

        if (status is 408 or 429 or 500 or 502 or 503 or 504)
        {
            TimeSpan? retryAfter = response.Headers.RetryAfter?.Delta ?? (response.Headers.RetryAfter?.Date - time.GetUtcNow());
            retryAfter = retryAfter < TimeSpan.Zero ? TimeSpan.Zero : retryAfter;
            return new(
                retryAfter > MaxRetryAfter ? $"{text} and asks to wait {retryAfter.Value.TotalSeconds.ToString("0", CultureInfo.InvariantCulture)} s before the next request" : text,
                retryAfter > MaxRetryAfter ? RegistryFaultKind.Failed : RegistryFaultKind.Transient)
            {
                RetryAfter = retryAfter,
            };
        }

        return new(text);
    }

    /// <summary>Creates the fault of a credential that the endpoint rejects.</summary>
    public RegistryException CredentialRejected() => new($"{endpoint} rejects the credential of {endpoint.Registry}; log in again");

    /// <summary>Creates the fault of a repository that does not exist, or is not visible without other credentials.</summary>
    public RegistryException NotVisible() =>
        new RegistryException($"{repository} does not exist at {endpoint} or needs credentials", RegistryFaultKind.NotFound)
            .AsPublic("it does not exist, or needs credentials that this host does not have");

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
            // Proxies and load balancers send bodies of any kind. The status is enough.
            return "";
        }
    }
}
