using System.Net;
using System.Threading.Channels;
using Boxer.AspNetCore.Protection;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.HttpHost;

public sealed class BoundedTransportTests
{
    private static readonly IPEndPoint Endpoint = new(IPAddress.Loopback, 0);
    private readonly FakeTimeProvider _time = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Connections_beyond_the_limit_of_all_listeners_are_closed_and_each_is_released_once()
    {
        var sockets = new Sockets();
        var transport = new BoundedTransport(sockets, maxConnections: 2, _time);
        await using IConnectionListener one = await transport.BindAsync(Endpoint, Cancel);
        await using IConnectionListener two = await transport.BindAsync(Endpoint, Cancel);

        ConnectionContext first = (await AcceptAsync(one, sockets.Connect()))!;
        Assert.NotNull(await AcceptAsync(two, sockets.Connect()));
        Socket[] beyond = [sockets.Connect(), sockets.Connect()];
        Task<ConnectionContext?> accepting = two.AcceptAsync(Cancel).AsTask();
        Assert.False(accepting.IsCompleted);
        Assert.All(beyond, socket => Assert.True(socket is { IsAborted: true, IsClosed: true }));

        await first.DisposeAsync();
        await first.DisposeAsync();
        Socket third = sockets.Connect();
        ConnectionContext? accepted = await accepting;
        Assert.Equal(third.ConnectionId, accepted?.ConnectionId);
        Socket fourth = sockets.Connect();
        accepting = one.AcceptAsync(Cancel).AsTask();
        Assert.True(fourth.IsClosed);
        sockets.Unbind();
        Assert.Null(await accepting);
    }

    [Fact]
    public async Task A_closing_connection_counts_until_it_is_aborted_after_its_time()
    {
        var sockets = new Sockets();
        await using IConnectionListener listener = await new BoundedTransport(sockets, maxConnections: 1, _time).BindAsync(Endpoint, Cancel);
        Socket slow = sockets.Connect();
        slow.TakesItsTime = true;
        ConnectionContext accepted = (await AcceptAsync(listener, slow))!;

        Task closing = accepted.DisposeAsync().AsTask();
        _time.Advance(BoundedTransport.ClosingTime - TimeSpan.FromMilliseconds(1));
        Socket beyond = sockets.Connect();
        Task<ConnectionContext?> accepting = listener.AcceptAsync(Cancel).AsTask();
        Assert.Equal((false, false, true), (closing.IsCompleted, slow.IsAborted, beyond.IsClosed));

        _time.Advance(TimeSpan.FromMilliseconds(1));
        await closing;
        Assert.True(slow is { IsAborted: true, IsClosed: true });
        sockets.Connect();
        Assert.NotNull(await accepting);
    }

    private static async Task<ConnectionContext?> AcceptAsync(IConnectionListener listener, Socket socket)
    {
        ConnectionContext? accepted = await listener.AcceptAsync(Cancel);
        Assert.Equal(socket.ConnectionId, accepted?.ConnectionId);
        return accepted;
    }

    /// <summary>A transport whose connections the test creates, for whichever listener accepts.</summary>
    private sealed class Sockets : IConnectionListenerFactory, IConnectionListener
    {
        private readonly Channel<Socket> _backlog = Channel.CreateUnbounded<Socket>();

        public EndPoint EndPoint => Endpoint;

        public Socket Connect()
        {
            var socket = new Socket();
            Assert.True(_backlog.Writer.TryWrite(socket));
            return socket;
        }

        public void Unbind() => _backlog.Writer.Complete();

        public ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default) => new(this);

        public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default) =>
            await _backlog.Reader.WaitToReadAsync(cancellationToken) && _backlog.Reader.TryRead(out Socket? socket) ? socket : null;

        public ValueTask UnbindAsync(CancellationToken cancellationToken = default) => default;

        public ValueTask DisposeAsync() => default;
    }

    private sealed class Socket : DefaultConnectionContext
    {
        private readonly TaskCompletionSource _aborted = new();

        public bool TakesItsTime { get; set; }

        public bool IsAborted => _aborted.Task.IsCompleted;

        public bool IsClosed { get; private set; }

        public override void Abort(ConnectionAbortedException abortReason) => _aborted.TrySetResult();

        public override async ValueTask DisposeAsync()
        {
            if (TakesItsTime)
            {
                await _aborted.Task;
            }

            await base.DisposeAsync();
            IsClosed = true;
        }
    }
}
