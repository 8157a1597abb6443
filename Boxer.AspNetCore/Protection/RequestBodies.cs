using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Protection;

/// <summary>Reads the bodies of requests within the limits of the options: size, memory, number and time.</summary>
internal sealed class RequestBodies(IOptions<BoxerHttpOptions> options, RequestBodyBudget budget, TimeProvider time)
{
    /// <summary>Rate at which an upload of the maximum size still arrives before its deadline.</summary>
    private const int UploadBytesPerSecond = 32 * 1_024;

    /// <summary>Sets the size limit of a JSON body.</summary>
    /// <exception cref="HttpFaultException">The declared length exceeds the limit (413).</exception>
    public void SetSizeLimit(HttpContext context) => RequestSizeLimit.Set(
        context, options.Value.MaxRequestBytes, $"the body has more than {options.Value.MaxRequestBytes} bytes; upload what is large with POST /files.");

    /// <summary>Counts a body, before any of it is read.</summary>
    /// <exception cref="HttpFaultException">Too many bodies are being sent (429).</exception>
    public RequestBodyLease Reserve(HttpContext context) => budget.Reserve(context);

    /// <summary>Reads a JSON body. Its memory counts until the lease is disposed.</summary>
    /// <param name="context">The request.</param>
    /// <param name="lease">Counts the body.</param>
    /// <param name="read">Reads the body to its end.</param>
    public async Task<TBody> ReadAsync<TBody>(HttpContext context, RequestBodyLease lease, Func<Stream, Task<TBody>> read)
    {
        await using TimedRequestBody body = new(context.Request.Body, options.Value.RequestBodyTimeout, time, lease.Add, context.RequestAborted);
        TBody parsed = await read(body);
        lease.ReleaseBuffer();
        return parsed;
    }

    /// <summary>Reads a small JSON body, whose memory is not counted further.</summary>
    /// <param name="context">The request.</param>
    /// <param name="fields">The fields.</param>
    /// <param name="empty">Receives the values.</param>
    /// <returns><paramref name="empty"/>.</returns>
    /// <exception cref="HttpFaultException">The body is invalid (400; all faults are listed) or too large (413), or the host is busy (429).</exception>
    public async Task<TBody> ReadAsync<TBody>(HttpContext context, Fields<TBody> fields, TBody empty)
    {
        SetSizeLimit(context);
        using RequestBodyLease lease = Reserve(context);
        return await ReadAsync(context, lease, body => JsonBody.ReadAsync(body, fields, empty, check: null, context.RequestAborted));
    }

    /// <summary>Gets the maximum time for the body of an upload.</summary>
    /// <param name="maxBytes">Maximum size of the body, in bytes.</param>
    public TimeSpan UploadTimeOf(long maxBytes) => options.Value.RequestBodyTimeout + TimeSpan.FromSeconds(maxBytes / UploadBytesPerSecond);

    /// <summary>Opens the body of an upload, which is not buffered.</summary>
    /// <param name="context">The request.</param>
    /// <param name="maxBytes">Maximum size of the body, in bytes, which bounds the time for it.</param>
    /// <param name="end">Cancels all reads.</param>
    public TimedRequestBody OpenUpload(HttpContext context, long maxBytes, CancellationToken end) =>
        new(context.Request.Body, UploadTimeOf(maxBytes), time, onRead: null, end);
}
