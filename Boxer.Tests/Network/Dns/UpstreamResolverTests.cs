using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using Boxer.Network.Dns;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Network.Dns;

/// <summary>Tests of <see cref="UpstreamResolver"/> with DNS servers on loopback that the tests control.</summary>
public sealed class UpstreamResolverTests : IDisposable
{
    private const string Name = "web.example.test";
    private static readonly string LongName = string.Join('.', Enumerable.Repeat(new string('a', 49), 3));
    private static readonly IPAddress Right = IPAddress.Parse("198.51.100.10");
    private static readonly IPAddress Wrong = IPAddress.Parse("198.51.100.66");
    private readonly Socket _server = Bind(SocketType.Dgram);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => _server.Dispose();

    [Fact]
    public async Task ResolveAsync_ignores_answers_to_other_queries()
    {
        using Socket other = Bind(SocketType.Dgram);
        using UpstreamResolver resolver = Make(_server);
        Task<UpstreamAnswer?> asking = resolver.ResolveAsync(Name, DnsType.A, Cancel);
        (byte[] query, EndPoint peer) = await ReceiveAsync(_server);

        byte[] wrong = Reply(query, Wrong);
        await other.SendToAsync(wrong, peer, Cancel);
        await _server.SendToAsync((byte[])[(byte)~query[0], .. wrong[1..]], peer, Cancel);
        await _server.SendToAsync(Reply(DnsMessage.WriteQuery(BinaryPrimitives.ReadUInt16BigEndian(query), "other.example.test", DnsType.A), Wrong), peer, Cancel);
        await _server.SendToAsync(wrong.AsMemory(0, 20), peer, Cancel);
        await _server.SendToAsync(query, peer, Cancel);
        await _server.SendToAsync(Reply(query, Right), peer, Cancel);

        Assert.Equal([Right], (await asking)!.Addresses);
    }

    [Fact]
    public async Task ResolveAsync_uses_a_new_port_and_identifier_for_each_query()
    {
        using UpstreamResolver resolver = Make(_server);
        HashSet<int> ports = [];
        HashSet<int> identifiers = [];
        for (int number = 0; number < 50; number++)
        {
            Task<UpstreamAnswer?> asking = resolver.ResolveAsync(Name, DnsType.A, Cancel);
            (byte[] query, EndPoint peer) = await ReceiveAsync(_server);
            ports.Add(((IPEndPoint)peer).Port);
            identifiers.Add(BinaryPrimitives.ReadUInt16BigEndian(query));
            await _server.SendToAsync(Reply(query, Right), peer, Cancel);
            await asking;
        }

        Assert.InRange(ports.Count, 40, 50);
        Assert.InRange(identifiers.Count, 40, 50);
    }

    [Fact]
    public async Task ResolveAsync_repeats_a_query_over_TCP_if_the_answer_is_truncated()
    {
        using Socket listener = Bind(SocketType.Stream, ((IPEndPoint)_server.LocalEndPoint!).Port);
        listener.Listen();
        using UpstreamResolver resolver = Make(_server);
        Task<UpstreamAnswer?> asking = resolver.ResolveAsync(Name, DnsType.A, Cancel);
        (byte[] query, EndPoint peer) = await ReceiveAsync(_server);
        byte[] cut = Reply(query, Wrong);
        cut[2] |= 0x02;
        await _server.SendToAsync(cut, peer, Cancel);

        using Socket connection = await listener.AcceptAsync(Cancel);
        using var stream = new NetworkStream(connection);
        var asked = new byte[2 + query.Length];
        await stream.ReadExactlyAsync(asked, Cancel);
        byte[] reply = Reply(asked[2..], Right);
        await stream.WriteAsync((byte[])[0, (byte)reply.Length, .. reply], Cancel);
        Assert.Equal([Right], (await asking)!.Addresses);
    }

    [Fact]
    public async Task ResolveAsync_tries_the_next_server_if_one_refuses_times_out_or_is_down()
    {
        using Socket gone = Bind(SocketType.Dgram);
        using Socket silent = Bind(SocketType.Dgram);
        using Socket refusing = Bind(SocketType.Dgram);
        var time = new FakeTimeProvider();
        using UpstreamResolver resolver = Make(time, gone, refusing, silent, _server);
        gone.Dispose();
        Task<UpstreamAnswer?> asking = resolver.ResolveAsync(Name, DnsType.A, Cancel);

        (byte[] query, EndPoint peer) = await ReceiveAsync(refusing);
        byte[] refusal = Reply(query, Wrong);
        refusal[3] |= (byte)DnsCode.Refused;
        await refusing.SendToAsync(refusal, peer, Cancel);
        await ReceiveAsync(silent);
        time.Advance(TimeSpan.FromSeconds(4));
        (query, peer) = await ReceiveAsync(_server);
        await _server.SendToAsync(Reply(query, Right), peer, Cancel);
        Assert.Equal([Right], (await asking)!.Addresses);
    }

    [Fact]
    public async Task ResolveAsync_fails_after_16_stray_answers()
    {
        using UpstreamResolver resolver = Make(_server);
        Task<UpstreamAnswer?> asking = resolver.ResolveAsync(Name, DnsType.A, Cancel);
        (byte[] query, EndPoint peer) = await ReceiveAsync(_server);
        byte[] guess = Reply(query, Wrong);
        guess[0] ^= 1;
        for (int number = 0; number < 16; number++)
        {
            await _server.SendToAsync(guess, peer, Cancel);
        }

        await _server.SendToAsync(Reply(query, Right), peer, Cancel);
        Assert.Null(await asking);
    }

    [Fact]
    public async Task ResolveAsync_fails_once_the_queries_reach_MaxBytes()
    {
        using UpstreamResolver resolver = Make(_server);
        using var done = new CancellationTokenSource();
        long seen = 0;
        Task serving = ServeAsync(size => seen += size, done.Token);
        int answered = 0;
        while (await resolver.ResolveAsync(LongName, DnsType.A, Cancel) is not null)
        {
            answered++;
        }

        Assert.Null(await resolver.ResolveAsync(Name, DnsType.A, Cancel));
        await done.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => serving);
        Assert.Equal((UpstreamResolver.MaxBytes / 167, UpstreamResolver.MaxBytes / 167 * 167L), (answered, seen));
    }

    [Theory]
    [InlineData(false, 0)]
    [InlineData(true, UpstreamResolver.MaxBytes / 4)]
    public async Task ResolveAsync_has_a_quarter_of_MaxBytes_again_after_a_quarter_of_the_refill_time(bool isRefilled, int expected)
    {
        var time = new FakeTimeProvider();
        using UpstreamResolver resolver = Make(isRefilled ? TimeSpan.FromHours(1) : null, time, _server);
        using var done = new CancellationTokenSource();
        int seen = 0;
        Task serving = ServeAsync(size => seen += size, done.Token);
        await ExhaustAsync();
        int before = seen;

        // Programs that try again all the time do not keep the budget empty.
        for (int minute = 0; minute < 15; minute++)
        {
            time.Advance(TimeSpan.FromMinutes(1));
            Assert.Null(await resolver.ResolveAsync(new string('a', 2 * UpstreamResolver.MaxBytes), DnsType.A, Cancel));
        }

        await ExhaustAsync();
        await done.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => serving);
        Assert.Equal(UpstreamResolver.MaxBytes / 167 * 167, before);
        Assert.InRange(seen - before, expected - 167, expected + 167);

        async Task ExhaustAsync()
        {
            while (await resolver.ResolveAsync(LongName, DnsType.A, Cancel) is not null)
            {
            }
        }
    }

    [Fact]
    public async Task ResolveAsync_still_fails_after_rejected_queries_of_more_bytes_than_an_int_holds()
    {
        using UpstreamResolver resolver = Make(_server);

        // The names have more bytes together than an int holds. Each is too long for a datagram.
        string name = new('a', 8 << 20);
        for (int number = 0; number <= 256; number++)
        {
            Assert.Null(await resolver.ResolveAsync(name, DnsType.A, Cancel));
        }

        Assert.Null(await resolver.ResolveAsync(Name, DnsType.A, Cancel));
        Assert.Equal(0, _server.Available);
    }

    // Answers all queries until the cancellation.
    private async Task ServeAsync(Action<int> onQuery, CancellationToken cancellationToken)
    {
        await Task.Yield();
        while (true)
        {
            (byte[] query, EndPoint peer) = await ReceiveAsync(_server, cancellationToken);
            onQuery(query.Length);
            await _server.SendToAsync(Reply(query, Right), peer, cancellationToken);
        }
    }

    private static UpstreamResolver Make(params Socket[] servers) => Make(TimeProvider.System, servers);

    private static UpstreamResolver Make(TimeProvider time, params Socket[] servers) => Make(null, time, servers);

    private static UpstreamResolver Make(TimeSpan? refillTime, TimeProvider time, params Socket[] servers) =>
        new([.. servers.Select(server => (IPEndPoint)server.LocalEndPoint!)], priority: null, refillTime, time);

    private static Socket Bind(SocketType type, int port = 0)
    {
        var socket = new Socket(AddressFamily.InterNetwork, type, type == SocketType.Dgram ? ProtocolType.Udp : ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, port));
        return socket;
    }

    private static async Task<(byte[] Query, EndPoint Peer)> ReceiveAsync(Socket server, CancellationToken? cancellationToken = null)
    {
        var buffer = new byte[512];
        SocketReceiveFromResult received = await server.ReceiveFromAsync(buffer, SocketFlags.None, new IPEndPoint(IPAddress.Any, 0), cancellationToken ?? Cancel);
        return (buffer[..received.ReceivedBytes], received.RemoteEndPoint);
    }

    private static byte[] Reply(byte[] query, IPAddress address) =>
        new DnsResponse(DnsCode.NoError, [address], 60).Write(DnsQuery.Parse(query)!, DnsMessage.MaxDatagramBytes);
}
