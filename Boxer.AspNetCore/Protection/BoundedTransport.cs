using System.IO.Pipelines;
using System.Net;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http.Features;

namespace Boxer.AspNetCore.Protection;

/// <summary>
/// Limits the number of open connections over all listeners. Further connections are closed at once, in the accept loop. With Kestrel's own limit
/// each rejected connection waits for a work item, and a burst of them uses up all descriptors (test:
/// <c>Unread_downloads_leave_descriptors_for_runs</c>). A connection counts until its socket is closed.
/// </summary>
/// <param name="transport">The transport that listens.</param>
/// <param name="maxConnections">Maximum number of open connections.</param>
/// <param name="time">The clock.</param>
internal sealed class BoundedTransport(IConnectionListenerFactory transport, int maxConnections, TimeProvider time) : IConnectionListenerFactory
{
    /// <summary>Time that a client has to read the rest of its last response. Kestrel's minimum data rate no longer applies then.</summary>
    internal static readonly TimeSpan ClosingTime = TimeSpan.FromSeconds(15);

    private int _open;

    public async ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default) =>
        new Listener(await transport.BindAsync(endpoint, cancellationToken), this);

    private bool TryOpen()
    {
        if (Interlocked.Increment(ref _open) <= maxConnections)
        {
            return true;
        }

        Interlocked.Decrement(ref _open);
        return false;
    }

    private async ValueTask CloseAsync(ConnectionContext connection)
    {
        Task closing = connection.DisposeAsync().AsTask();
        try
        {
            await closing.WaitAsync(ClosingTime, time);
        }
        catch (TimeoutException)
        {
            connection.Abort(new ConnectionAbortedException("The client does not read the rest of its response."));
            await closing;
        }
        finally
        {
            Interlocked.Decrement(ref _open);
        }
    }

    private sealed class Listener(IConnectionListener listener, BoundedTransport bound) : IConnectionListener
    {
        public EndPoint EndPoint => listener.EndPoint;

        public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
        {
            while (await listener.AcceptAsync(cancellationToken) is { } accepted)
            {
                if (bound.TryOpen())
                {
                    return new Connection(accepted, bound);
                }

                accepted.Abort(new ConnectionAbortedException("There are too many connections."));
                await accepted.DisposeAsync();
            }

            return null;
        }

        public ValueTask UnbindAsync(CancellationToken cancellationToken = default) => listener.UnbindAsync(cancellationToken);

        public ValueTask DisposeAsync() => listener.DisposeAsync();
    }

    private sealed class Connection(ConnectionContext connection, BoundedTransport bound) : ConnectionContext
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

        // Kestrel disposes a connection more than once if it fails early.
        public override async ValueTask DisposeAsync()
        {
            if (Interlocked.Exchange(ref _isDisposed, 1) == 0)
            {
                await bound.CloseAsync(connection);
            }

            await base.DisposeAsync();
        }
    }
}
