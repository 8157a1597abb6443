using System.Net;
using System.Net.Sockets;
using Boxer;
using Boxer.AspNetCore;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Options;

namespace Microsoft.AspNetCore.Hosting;

/// <summary>Protects a server against clients that use too many resources.</summary>
public static class BoxerHttpWebHostBuilderExtensions
{
    /// <summary>
    /// Sets Kestrel's limits for untrusted clients, for the whole application: HTTP/1.1 only, limits on headers, data rates and idle time, a limit on
    /// connections that leaves enough descriptors for sandboxes, and keep-alive probes that detect a lost client after 30 s. The application does not
    /// start if its descriptor limit (RLIMIT_NOFILE) is too low.
    /// </summary>
    /// <param name="builder">The builder of an application that uses Kestrel.</param>
    /// <returns><paramref name="builder"/>.</returns>
    public static IWebHostBuilder UseBoxerServerLimits(this IWebHostBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.ConfigureServices(services =>
        {
            services.Configure<KestrelServerOptions>(SetLimits);
            services.Configure<SocketTransportOptions>(options => options.CreateBoundListenSocket = CreateSocket);
            services.AddSingleton<IHostedService, DescriptorCheck>();
            services.AddSingleton<IConnectionListenerFactory>(provider => new BoundedTransport(
                ActivatorUtilities.CreateInstance<SocketTransportFactory>(provider),
                DescriptorLimit.ConnectionsOf(provider.GetRequiredService<IOptions<BoxerOptions>>().Value, provider.GetRequiredService<IOptions<BoxerHttpOptions>>().Value),
                provider.GetService<TimeProvider>() ?? TimeProvider.System));
        });
    }

    /// <summary>
    /// Creates the listening socket. Accepted connections are probed after 15 s of silence and closed after 30 s without a response, because a client
    /// whose machine or network is lost does not close its connection.
    /// </summary>
    internal static Socket CreateSocket(EndPoint endpoint)
    {
        const int UserTimeout = 18;
        Socket socket = SocketTransportOptions.CreateDefaultBoundListenSocket(endpoint);
        if (endpoint is IPEndPoint)
        {
            socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
            socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, 15);
            socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, 5);
            socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, 3);
            socket.SetRawSocketOption((int)SocketOptionLevel.Tcp, UserTimeout, BitConverter.GetBytes(30_000));
        }

        return socket;
    }

    private static void SetLimits(KestrelServerOptions options)
    {
        options.AddServerHeader = false;
        options.AllowSynchronousIO = false;
        options.ConfigureEndpointDefaults(listen => listen.Protocols = HttpProtocols.Http1);

        // Kestrel's defaults or stricter values, set explicitly because the protection depends on them. Each endpoint sets its own body limit: RequestSizeLimit.
        options.Limits.MaxRequestHeaderCount = 64;
        options.Limits.MaxRequestHeadersTotalSize = 32 * 1_024;
        options.Limits.MaxRequestLineSize = 16 * 1_024;
        options.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(15);
        options.Limits.KeepAliveTimeout = TimeSpan.FromSeconds(120);
        options.Limits.MinRequestBodyDataRate = new MinDataRate(bytesPerSecond: 240, gracePeriod: TimeSpan.FromSeconds(5));
        options.Limits.MinResponseDataRate = new MinDataRate(bytesPerSecond: 16 * 1_024, gracePeriod: TimeSpan.FromSeconds(10));
    }

    private sealed class DescriptorCheck(IOptions<BoxerOptions> options, IOptions<BoxerHttpOptions> http) : StartupCheck
    {
        protected override void Check()
        {
            if (DescriptorLimit.FindFault(options.Value, http.Value) is { } fault)
            {
                throw new SandboxPrivilegeException(fault);
            }
        }
    }
}
