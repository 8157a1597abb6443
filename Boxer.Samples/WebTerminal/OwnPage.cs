using System.Net;
using Microsoft.Net.Http.Headers;

namespace WebTerminal;

/// <summary>Rejects requests that pages of other sites send through the browser of somebody who uses this program.</summary>
/// <remarks>
/// A page of another site may open WebSockets to this machine: browsers do not prevent it and send the page's origin with them. A name of another
/// site may also resolve to 127.0.0.1 (DNS rebinding); the Host header then has this name.
/// </remarks>
internal static class OwnPage
{
    internal static Task CheckAsync(HttpContext context, RequestDelegate next)
    {
        HostString host = context.Request.Host;
        string origin = context.Request.Headers[HeaderNames.Origin].ToString();
        bool isOfThisMachine = host.Host == "localhost" || (IPAddress.TryParse(host.Host.Trim('[', ']'), out IPAddress? address) && IPAddress.IsLoopback(address));
        bool isOwn = origin == $"{context.Request.Scheme}://{host}";
        if (!isOfThisMachine || (!isOwn && (origin.Length > 0 || context.Request.Headers.ContainsKey(HeaderNames.SecWebSocketKey))))
        {
            context.Response.StatusCode = StatusCodes.Status403Forbidden;
            return Task.CompletedTask;
        }

        context.Response.Headers.ContentSecurityPolicy = "default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'";
        context.Response.Headers.XContentTypeOptions = "nosniff";
        return next(context);
    }
}
