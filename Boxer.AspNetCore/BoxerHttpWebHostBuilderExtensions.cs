using System.Net;
using System.Net.Sockets;
using Boxer;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Options;

namespace Microsoft.AspNetCore.Hosting;

/// <summary>Bounds what clients can take of a server.</summary>
public static class BoxerHttpWebHostBuilderExtensions
{
    /// <summary>
    /// Bounds connections, headers, data rates and idle time of Kestrel for clients that are not trusted, for the whole application: HTTP/1.1 only, as
    /// many connections as leave the descriptors that sandboxes need, and a client that is gone is noticed after 30 s. The host does not start
    /// where this process has too few descriptors.
    /// </summary>
    /// <param name="builder">The builder of an application that uses Kestrel.</param>
    /// <returns><paramref name="builder"/>.</returns>
    public static IWebHostBuilder UseBoxerServerLimits(this IWebHostBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.ConfigureServices(services =>
        {
            services.Configure<KestrelServerOptions>(Bound);
            services.Configure<SocketTransportOptions>(options => options.CreateBoundListenSocket = CreateSocket);
            services.AddSingleton<IHostedService, DescriptorCheck>();
            services.AddSingleton<IConnectionListenerFactory>(provider => new BoundedTransport(
                ActivatorUtilities.CreateInstance<SocketTransportFactory>(provider),
                DescriptorLimit.ConnectionsOf(provider.GetRequiredService<IOptions<BoxerOptions>>().Value),
                provider.GetService<TimeProvider>() ?? TimeProvider.System));
        });
    }

    /// <summary>
    /// Makes the socket that listens. What it accepts is asked after 15 s of silence whether it is still there, and given up after 30 s
    /// without a sign: a client whose machine or link is gone says nothing itself.
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

    private static void Bound(KestrelServerOptions options)
    {
        options.AddServerHeader = false;
        options.AllowSynchronousIO = false;
        options.ConfigureEndpointDefaults(listen => listen.Protocols = HttpProtocols.Http1);

        // Kestrel's defaults or tighter, written down because they are part of the defence. The size of bodies is that of each endpoint: OwnRequestSizeLimit.
        options.Limits.MaxRequestHeaderCount = 64;
        options.Limits.MaxRequestHeadersTotalSize = 32 * 1_024;
        options.Limits.MaxRequestLineSize = 16 * 1_024;
        options.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(15);
        options.Limits.KeepAliveTimeout = TimeSpan.FromSeconds(120);
        options.Limits.MinRequestBodyDataRate = new MinDataRate(bytesPerSecond: 240, gracePeriod: TimeSpan.FromSeconds(5));
        options.Limits.MinResponseDataRate = new MinDataRate(bytesPerSecond: 16 * 1_024, gracePeriod: TimeSpan.FromSeconds(10));
    }

    /// <summary>Keeps the host from starting where this process has too few descriptors.</summary>
    private sealed class DescriptorCheck(IOptions<BoxerOptions> options) : IHostedLifecycleService
    {
        public Task StartingAsync(CancellationToken cancellationToken) =>
            DescriptorLimit.FindFault(options.Value) is { } fault ? throw new SandboxPrivilegeException(fault) : Task.CompletedTask;

        public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StoppingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
