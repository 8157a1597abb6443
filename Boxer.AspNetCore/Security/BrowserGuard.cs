using System.Net;
using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Security;

/// <summary>Rejects requests that web pages of other sites send through a visitor's browser.</summary>
/// <remarks>
/// Browsers send the page's origin, or its relation to this host, with such requests. In a DNS rebinding attack the page's own name resolves to this
/// host, so the browser treats the page as this host's; only the name in the Host header reveals it. Without API keys, that name must therefore be
/// one of this machine's. With API keys the check is not needed, because the page has no key. A request without a Host header is not from a browser
/// (HTTP/1.0 health checks send none). Clients other than browsers are only affected by the check of the name.
/// </remarks>
internal sealed class BrowserGuard(IOptions<BoxerHttpOptions> options, ILogger<BrowserGuard> logger)
{
    private static readonly string[] MachineNames = ["localhost", Environment.MachineName, Dns.GetHostName()];

    /// <summary>Middleware that checks the origin and the Host header of a request.</summary>
    public Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        HttpRequest request = context.Request;
        bool open = options.Value.ApiKeys.Count == 0;
        if (open && !IsOfThisMachine(request.Host))
        {
            HttpLog.Rejected(logger, context.Connection.RemoteIpAddress, "its Host header has a name that is not this host's.");
            throw new HttpFaultException(
                StatusCodes.Status421MisdirectedRequest,
                "the Host header has a name that is not this host's; address it by its IP address, as localhost or by this machine's name, or list the name in host_names.");
        }

        string origin = request.Headers.Origin.ToString();
        string site = request.Headers["Sec-Fetch-Site"].ToString();
        if ((origin.Length > 0 && !IsOwnPage(origin, request.Host)) || (open && site is not ("" or "same-origin" or "none")))
        {
            HttpLog.Rejected(logger, context.Connection.RemoteIpAddress, "it came from a web page of another site.");
            throw new HttpFaultException(StatusCodes.Status403Forbidden, "requests from web pages of other sites are refused; open a page of this host itself.");
        }

        return next(context);
    }

    private static bool IsOwnPage(string origin, HostString host) =>
        Uri.TryCreate(origin, UriKind.Absolute, out Uri? page) && string.Equals(page.Authority, host.Value, StringComparison.OrdinalIgnoreCase);

    private bool IsOfThisMachine(HostString host) =>
        !host.HasValue
        || IPAddress.TryParse(host.Host.Trim('[', ']'), out _)
        || MachineNames.Contains(host.Host, StringComparer.OrdinalIgnoreCase)
        || options.Value.HostNames.Any(name =>
            string.Equals(name, host.Host, StringComparison.OrdinalIgnoreCase) || string.Equals(name, host.Value, StringComparison.OrdinalIgnoreCase));
}
