using System.Net;
using Boxer.HttpHost.Settings;

namespace Boxer.HttpHost.Security;

/// <summary>
/// Refuses what web pages of other sites send through a visitor's browser: a host on loopback without keys is reachable for them. A
/// browser names the page's origin in such requests, except where it takes the page for this host's own because its name was pointed
/// here (DNS rebinding); then the host name gives it away. Other clients notice nothing.
/// </summary>
internal sealed class BrowserGuard(HostSettings settings, ILogger<BrowserGuard> logger)
{
    /// <summary>Checks the origin of a request; a middleware.</summary>
    public Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        string origin = context.Request.Headers.Origin.ToString();
        bool rebound = settings.ApiKeys.Count == 0 && settings.ListenAddress.IsLoopback && !IsOfThisMachine(context.Request.Host);
        if (rebound || (origin.Length > 0 && !IsOwnPage(origin, context.Request.Host)))
        {
            HostLog.Refused(logger, context.Connection.RemoteIpAddress, "it came from a web page of another site, or to a name that is not this host's.");
            throw new HttpFaultException(StatusCodes.Status403Forbidden, "requests from web pages of other sites are refused; address this host as localhost or by its IP address.");
        }

        return next(context);
    }

    private bool IsOwnPage(string origin, HostString host) =>
        Uri.TryCreate(origin, UriKind.Absolute, out Uri? page)
        && string.Equals(page.Authority, host.Value, StringComparison.OrdinalIgnoreCase)
        && (settings.ApiKeys.Count > 0 || IsOfThisMachine(host));

    private static bool IsOfThisMachine(HostString host) => host.Host == "localhost" || IPAddress.TryParse(host.Host.Trim('[', ']'), out _);
}
