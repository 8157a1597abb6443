using System.Diagnostics.CodeAnalysis;
using System.IO.Pipelines;
using System.Net;
using Boxer.HttpHost.Settings;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Options;

namespace Boxer.HttpHost;

/// <summary>
/// Kestrel's sockets, of which no more than a number are open at a time. Kestrel turns connections beyond its limit away after it accepted them, each in a work item of its own:
/// a burst of them on a busy machine takes every descriptor there is. Those beyond this number stay in the kernel's backlog (listen(2)).
/// </summary>
[SuppressMessage("Design", "CA1001:Types that own disposable fields should be disposable", Justification = "Connections may give their places back after it; a semaphore that no handle was taken of holds nothing.")]
internal sealed class BoundedTransport(IOptions<SocketTransportOptions> options, ILoggerFactory loggers, HostSettings settings) : IConnectionListenerFactory
{
    /// <summary>How many connections may be open while they are turned away.</summary>
    internal const int TurnedAway = 16;

    private readonly SocketTransportFactory _sockets = new(options, loggers);
    private readonly SemaphoreSlim _places = new(DescriptorLimit.ConnectionsOf(settings) + TurnedAway);

    public async ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default) =>
        new Listener(await _sockets.BindAsync(endpoint, cancellationToken), _places);

    private sealed class Listener(IConnectionListener listener, SemaphoreSlim places) : IConnectionListener
    {
        private readonly CancellationTokenSource _unbound = new();

        public EndPoint EndPoint => listener.EndPoint;

        public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
        {
            try
            {
                await places.WaitAsync(_unbound.Token);
            }
            catch (OperationCanceledException)
            {
                return null;
            }

            ConnectionContext? accepted = null;
            try
            {
                accepted = await listener.AcceptAsync(cancellationToken);
                return accepted is null ? null : new Connection(accepted, places);
            }
            finally
            {
                if (accepted is null)
                {
                    places.Release();
                }
            }
        }

        public async ValueTask UnbindAsync(CancellationToken cancellationToken = default)
        {
            await _unbound.CancelAsync();
            await listener.UnbindAsync(cancellationToken);
        }

        public async ValueTask DisposeAsync()
        {
            await listener.DisposeAsync();
            _unbound.Dispose();
        }
    }

    /// <summary>The connection of the sockets, which gives its place back once its socket is closed.</summary>
    private sealed class Connection(ConnectionContext connection, SemaphoreSlim places) : ConnectionContext
    {
        private int _isDisposed;

        public override string ConnectionId { get => connection.ConnectionId; set => connection.ConnectionId = value; }

        public override IFeatureCollection Features => connection.Features;

        public override IDictionary<object, object?> Items { get => connection.Items; set => connection.Items = value; }

        public override IDuplexPipe Transport { get => connection.Transport; set => connection.Transport = value; }

        public override CancellationToken ConnectionClosed { get => connection.ConnectionClosed; set => connection.ConnectionClosed = value; }

        public override EndPoint? LocalEndPoint { get => connection.LocalEndPoint; set => connection.LocalEndPoint = value; }

        public override EndPoint? RemoteEndPoint { get => connection.RemoteEndPoint; set => connection.RemoteEndPoint = value; }

        public override void Abort(ConnectionAbortedException abortReason) => connection.Abort(abortReason);

        public override async ValueTask DisposeAsync()
        {
            await connection.DisposeAsync();
            await base.DisposeAsync();
            if (Interlocked.Exchange(ref _isDisposed, 1) == 0)
            {
                places.Release();
            }
        }
    }
}
