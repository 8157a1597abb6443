using System.Net;
using Boxer.HttpHost.Settings;

namespace Boxer.HttpHost.Security;

/// <summary>
/// Refuses what web pages of other sites send through a visitor's browser: a host on loopback without keys is reachable for them. A
/// browser names the page's origin in such requests; other clients send none and notice nothing.
/// </summary>
internal sealed class BrowserGuard(HostSettings settings)
{
    /// <summary>Checks the origin of a request; a middleware.</summary>
    public Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        string origin = context.Request.Headers.Origin.ToString();
        if (origin.Length > 0 && !IsOwnPage(origin, context.Request.Host))
        {
            throw new HttpFaultException(StatusCodes.Status403Forbidden, "requests from web pages of other sites are refused.");
        }

        return next(context);
    }

    /// <summary>
    /// Whether the page came from this host. Without keys a name other than localhost is not believed: whoever owns a name can let it
    /// point here (DNS rebinding).
    /// </summary>
    private bool IsOwnPage(string origin, HostString host) =>
        Uri.TryCreate(origin, UriKind.Absolute, out Uri? page)
        && string.Equals(page.Authority, host.Value, StringComparison.OrdinalIgnoreCase)
        && (settings.ApiKeys.Count > 0 || host.Host == "localhost" || IPAddress.TryParse(host.Host.Trim('[', ']'), out _));
}
