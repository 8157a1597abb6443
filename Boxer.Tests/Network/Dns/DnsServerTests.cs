using System.Net;
using System.Net.Sockets;
using Boxer.Network.Dns;
using Boxer.Network.Links;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Network.Dns;

/// <summary>Tests of <see cref="DnsServer"/> on loopback, with a second loopback address in the place of the sandbox.</summary>
public sealed class DnsServerTests
{
    private static readonly AddressPair Pair = new(IPAddress.Loopback, IPAddress.Parse("127.0.0.2"));
    private static readonly byte[] Query = DnsMessage.WriteQuery(7, "denied.example.test", DnsType.A);
    private static readonly byte[] Framed = [0, (byte)Query.Length, .. Query];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_connection_that_sends_20000_queries_at_once_gets_a_response_every_5_ms()
    {
        var time = new FakeTimeProvider();
        int asked = 0;
        await using var listener = new DnsServer([Pair], _ => Task.FromResult(new DnsResponse(Interlocked.Increment(ref asked) > 0 ? DnsCode.NameError : DnsCode.NoError)), time);
        using Socket connection = await ConnectAsync(listener);
        await using var stream = new NetworkStream(connection);
        Task sending = stream.WriteAsync(Enumerable.Repeat(Framed, 20_000).SelectMany(query => query).ToArray(), Cancel).AsTask();

        var reply = new byte[Framed.Length];
        for (int number = 1; number <= 5; number++)
        {
            await stream.ReadExactlyAsync(reply, Cancel);
            await Task.Delay(100, Cancel);
            Assert.Equal(number, Volatile.Read(ref asked));
            time.Advance(TimeSpan.FromMilliseconds(5));
        }

        connection.Dispose();
        await Task.WhenAny(sending);
    }

    [Fact]
    public async Task A_connection_is_closed_after_30_s_even_if_a_query_is_pending()
    {
        var time = new FakeTimeProvider();
        var asked = new TaskCompletionSource();
        var answer = new TaskCompletionSource<DnsResponse>();
        await using var listener = new DnsServer(
            [Pair],
            _ =>
            {
                asked.TrySetResult();
                return answer.Task;
            },
            time);
        using Socket connection = await ConnectAsync(listener);
        await connection.SendAsync(Framed, Cancel);
        await asked.Task.WaitAsync(Cancel);

        time.Advance(TimeSpan.FromSeconds(31));
        Assert.Equal(0, await connection.ReceiveAsync(new byte[100], Cancel).AsTask().WaitAsync(TimeSpan.FromSeconds(60), Cancel));
        answer.SetResult(new DnsResponse(DnsCode.NameError));
    }

    [Fact]
    public async Task Only_the_sandbox_gets_responses()
    {
        int asked = 0;
        await using var listener = new DnsServer([Pair], _ => Task.FromResult(new DnsResponse(Interlocked.Increment(ref asked) > 0 ? DnsCode.NameError : DnsCode.NoError)), TimeProvider.System);
        using var stranger = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0));
        await stranger.SendAsync(Query, new IPEndPoint(Pair.Host, listener.Port), Cancel);
        using Socket other = await ConnectAsync(listener, IPAddress.Loopback);
        Assert.Equal(0, await other.ReceiveAsync(new byte[100], Cancel));

        using var guest = new UdpClient(new IPEndPoint(Pair.Guest, 0));
        await guest.SendAsync(Query, new IPEndPoint(Pair.Host, listener.Port), Cancel);
        UdpReceiveResult reply = await guest.ReceiveAsync(Cancel);
        using Socket own = await ConnectAsync(listener);
        await own.SendAsync(Framed, Cancel);

        Assert.Equal((int)DnsCode.NameError, reply.Buffer[3] & 0x0F);
        Assert.Equal(Framed.Length, await own.ReceiveAsync(new byte[100], Cancel));
        Assert.Equal((2, 0), (asked, stranger.Available));
    }

    private static async Task<Socket> ConnectAsync(DnsServer listener, IPAddress? from = null)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(from ?? Pair.Guest, 0));
        await socket.ConnectAsync(new IPEndPoint(Pair.Host, listener.Port), Cancel);
        return socket;
    }
}
