using System.Globalization;
using Boxer.AspNetCore.Endpoints;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.WebSockets;
using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Sessions;

/// <summary>GET /sessions/{id}/ports/{port}: a WebSocket whose binary messages are the bytes of a connection to a port in the sandbox.</summary>
internal static class PortsEndpoint
{
    private static readonly TimeSpan KeepAliveInterval = TimeSpan.FromSeconds(15);

    public static void MapPorts(this IEndpointRouteBuilder routes) => routes
        .MapGet("/sessions/{id}/ports/{port}", (Delegate)ConnectAsync)
        .WithOperationId("connectPort")
        .WithTags(SessionsEndpoint.Tag)
        .WithSummary("Connects to a TCP port in the sandbox, in every network mode. Upgrades to a WebSocket.")
        .WithDescription(
            "Binary messages are the bytes of the connection; their boundaries mean nothing. A close frame ends its direction only, as FIN does. "
            + "Close codes: 1000 (the sandbox closed its direction), 1001 (the host is stopping), 1003 (a text message came), 1011 (the connection broke), "
            + "4410 (the session ended; the close reason is the value of ended). The server sends pings; a client that neither answers nor sends anything for 10 minutes "
            + "is disconnected. So is one that has sent its close frame, or whose bytes the sandbox does not take, after 10 minutes without a byte in either direction.")
        .Produces(StatusCodes.Status101SwitchingProtocols)
        .ProducesSessionErrors(400, 401, 403, 404, 409, 410, 421, 426, 429, 500, 502, 503);

    // The application may not use the middleware itself, and if it does, that is without the monitor.
    private static Task ConnectAsync(HttpContext context)
    {
        if (context.Features.Get<IHttpUpgradeFeature>() is { } upgrade)
        {
            context.Features.Set<IHttpUpgradeFeature>(new MonitoredUpgrade(upgrade, context.RequestServices.GetRequiredService<TimeProvider>()));
            context.Features.Set<IHttpWebSocketFeature>(null);
        }

        return new WebSocketMiddleware(
            RelayAsync, Options.Create(new WebSocketOptions()), context.RequestServices.GetRequiredService<ILoggerFactory>()).Invoke(context);
    }

    private static async Task RelayAsync(HttpContext context)
    {
        ISandboxSession session = await context.RequestServices.GetRequiredService<SessionLookup>().FindAsync(context);
        RequestQuery query = new(context);
        int port = ReadPort(context, query);
        bool resume = query.CheckAndReadResume();
        if (!context.WebSockets.IsWebSocketRequest)
        {
            context.Response.Headers.Upgrade = "websocket";
            throw new HttpFaultException(StatusCodes.Status426UpgradeRequired, "this path is a WebSocket; send its handshake.");
        }

        using IDisposable place = context.RequestServices.GetRequiredService<StreamBudget>().Open(context);
        using CancellationTokenSource end = CancellationTokenSource.CreateLinkedTokenSource(
            context.RequestAborted, context.RequestServices.GetRequiredService<GracefulShutdown>().GraceOver);
        if (resume)
        {
            await session.ResumeAsync(end.Token);
        }

        await using SandboxConnection connection = await session.ConnectAsync(port, end.Token);
        using System.Net.WebSockets.WebSocket socket = await context.WebSockets.AcceptWebSocketAsync(new WebSocketAcceptContext { KeepAliveInterval = KeepAliveInterval });
        using PortRelay relay = new(
            socket, connection, session, (context.Features.Get<IHttpUpgradeFeature>() as MonitoredUpgrade)?.Stream, context.RequestServices.GetRequiredService<TimeProvider>());
        using CancellationTokenRegistration stop = context.RequestServices.GetRequiredService<GracefulShutdown>().Stopping.Register(relay.Stop);
        await relay.RunAsync(end.Token);
    }

    private static int ReadPort(HttpContext context, RequestQuery query)
    {
        const int MaxPort = 65_535;
        string text = (string?)context.Request.RouteValues["port"] ?? "";
        if (!int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int port) || port is 0 or > MaxPort)
        {
            query.Fault("port", $"must be a whole number from 1 to {MaxPort}, not {StrictReader.Quote(text)}");
        }

        return port;
    }
}
