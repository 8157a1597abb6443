using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using Boxer.Network;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Network;

/// <summary>Questions to upstream resolvers, which are servers of the test's own on loopback and answer as the test says.</summary>
public sealed class UpstreamResolverTests : IDisposable
{
    private const string Name = "web.example.test";
    private static readonly IPAddress Right = IPAddress.Parse("198.51.100.10");
    private static readonly IPAddress Wrong = IPAddress.Parse("198.51.100.66");
    private readonly Socket _server = Bind(SocketType.Dgram);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => _server.Dispose();

    [Fact]
    public async Task AskAsync_ignores_answers_to_other_questions()
    {
        using Socket other = Bind(SocketType.Dgram);
        using UpstreamResolver resolver = Make(_server);
        Task<DnsAnswer?> asking = resolver.AskAsync(Name, DnsType.A, Cancel);
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
    public async Task Each_query_has_a_port_and_an_identifier_of_its_own()
    {
        using UpstreamResolver resolver = Make(_server);
        HashSet<int> ports = [];
        HashSet<int> identifiers = [];
        for (int number = 0; number < 50; number++)
        {
            Task<DnsAnswer?> asking = resolver.AskAsync(Name, DnsType.A, Cancel);
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
    public async Task An_answer_that_is_cut_is_asked_for_by_tcp()
    {
        using Socket listener = Bind(SocketType.Stream, ((IPEndPoint)_server.LocalEndPoint!).Port);
        listener.Listen();
        using UpstreamResolver resolver = Make(_server);
        Task<DnsAnswer?> asking = resolver.AskAsync(Name, DnsType.A, Cancel);
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
    public async Task Another_server_is_asked_where_one_refuses_is_silent_or_is_not_there()
    {
        using Socket gone = Bind(SocketType.Dgram);
        using Socket silent = Bind(SocketType.Dgram);
        using Socket refusing = Bind(SocketType.Dgram);
        var time = new FakeTimeProvider();
        using UpstreamResolver resolver = Make(time, gone, refusing, silent, _server);
        gone.Dispose();
        Task<DnsAnswer?> asking = resolver.AskAsync(Name, DnsType.A, Cancel);

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
    public async Task AskAsync_gives_up_after_16_stray_answers()
    {
        using UpstreamResolver resolver = Make(_server);
        Task<DnsAnswer?> asking = resolver.AskAsync(Name, DnsType.A, Cancel);
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
    public async Task The_bytes_of_all_queries_are_bounded()
    {
        using UpstreamResolver resolver = Make(_server);
        using var done = new CancellationTokenSource();
        long seen = 0;
        var serving = Task.Run(
            async () =>
            {
                while (true)
                {
                    (byte[] query, EndPoint peer) = await ReceiveAsync(_server, done.Token);
                    seen += query.Length;
                    await _server.SendToAsync(Reply(query, Right), peer, done.Token);
                }
            },
            Cancel);
        string name = string.Join('.', Enumerable.Repeat(new string('a', 49), 3));
        int answered = 0;
        while (await resolver.AskAsync(name, DnsType.A, Cancel) is not null)
        {
            answered++;
        }

        Assert.Null(await resolver.AskAsync(Name, DnsType.A, Cancel));
        await done.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => serving);
        Assert.Equal((UpstreamResolver.MostBytes / 167, UpstreamResolver.MostBytes / 167 * 167L), (answered, seen));
    }

    [Fact]
    public async Task Refused_queries_do_not_bring_the_bound_of_all_bytes_back()
    {
        using UpstreamResolver resolver = Make(_server);

        // Together more than an int holds. No datagram holds one of them.
        string name = new('a', 8 << 20);
        for (int number = 0; number <= 256; number++)
        {
            Assert.Null(await resolver.AskAsync(name, DnsType.A, Cancel));
        }

        Assert.Null(await resolver.AskAsync(Name, DnsType.A, Cancel));
        Assert.Equal(0, _server.Available);
    }

    private static UpstreamResolver Make(params Socket[] servers) => Make(TimeProvider.System, servers);

    private static UpstreamResolver Make(TimeProvider time, params Socket[] servers) =>
        new([.. servers.Select(server => (IPEndPoint)server.LocalEndPoint!)], priority: null, time);

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
        DnsMessage.WriteReply(DnsMessage.ParseQuery(query)!, new DnsReply(DnsCode.NoError, [address], 60), DnsMessage.MostDatagram);
}
