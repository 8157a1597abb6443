using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;

namespace Boxer.Network;

/// <summary>
/// Asks the configured resolvers for the addresses of names, for one sandbox. The number of bytes that it sends is bounded, because a
/// sandbox chooses what is asked for. Each query has a port and an identifier of its own, both random, and only the server that was
/// asked is listened to.
/// </summary>
internal sealed class UpstreamResolver : IDisposable
{
    /// <summary>Bytes of queries that one run sends at most.</summary>
    internal const int MostBytes = 1 << 20;

    /// <summary>Sockets that it has open at most.</summary>
    internal const int MostAtOnce = 8;

    private const int MostStrays = 16;
    private const int ReceivedBytes = 4_096;
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(3);
    private readonly IReadOnlyList<IPEndPoint> _servers;
    private readonly uint? _priority;
    private readonly TimeProvider _time;
    private readonly SemaphoreSlim _slots = new(MostAtOnce, MostAtOnce);
    private int _sent;

    /// <param name="servers">The servers, which are asked in this order until one knows.</param>
    /// <param name="priority">The priority of its packets (socket(7)), by which the firewall finds the quota that they count in; <see langword="null"/>: none.</param>
    /// <param name="time">The clock.</param>
    internal UpstreamResolver(IReadOnlyList<IPEndPoint> servers, uint? priority, TimeProvider time)
    {
        _servers = servers;
        _priority = priority;
        _time = time;
    }

    /// <summary>Asks for the addresses of a host name; <see langword="null"/> if no server answers, or too much was sent before.</summary>
    internal async Task<DnsAnswer?> AskAsync(string name, DnsType type, CancellationToken cancellationToken)
    {
        await _slots.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            foreach (IPEndPoint server in _servers)
            {
                if (await AskAsync(server, name, type, cancellationToken).ConfigureAwait(false) is { Code: DnsCode.NoError or DnsCode.NameError, IsTruncated: false } answer)
                {
                    return answer;
                }
            }

            return null;
        }
        finally
        {
            _slots.Release();
        }
    }

    public void Dispose() => _slots.Dispose();

    private async Task<DnsAnswer?> AskAsync(IPEndPoint server, string name, DnsType type, CancellationToken cancellationToken)
    {
        using var timeout = new CancellationTokenSource(Timeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, timeout.Token);
        try
        {
            DnsAnswer? answer = await AskByUdpAsync(server, name, type, either.Token).ConfigureAwait(false);
            return answer is { IsTruncated: true } ? await AskByTcpAsync(server, name, type, either.Token).ConfigureAwait(false) : answer;
        }
        catch (Exception exception) when (exception is SocketException or IOException || (exception is OperationCanceledException && !cancellationToken.IsCancellationRequested))
        {
            return null;
        }
    }

    private async Task<DnsAnswer?> AskByUdpAsync(IPEndPoint server, string name, DnsType type, CancellationToken cancellationToken)
    {
        ushort id = RandomId();
        byte[] query = DnsMessage.WriteQuery(id, name, type);
        if (!MaySend(query.Length))
        {
            return null;
        }

        // The kernel chooses a random port, and passes on what comes from the server only.
        using Socket socket = await ConnectAsync(server, SocketType.Dgram, ProtocolType.Udp, cancellationToken).ConfigureAwait(false);
        await socket.SendAsync(query, cancellationToken).ConfigureAwait(false);
        var received = new byte[ReceivedBytes];

        // Somebody who guesses identifiers has a few tries.
        for (int stray = 0; stray < MostStrays; stray++)
        {
            int length = await socket.ReceiveAsync(received, cancellationToken).ConfigureAwait(false);
            if (DnsMessage.ParseAnswer(received.AsSpan(0, length), id, name, type) is { } answer)
            {
                return answer;
            }
        }

        return null;
    }

    private async Task<DnsAnswer?> AskByTcpAsync(IPEndPoint server, string name, DnsType type, CancellationToken cancellationToken)
    {
        ushort id = RandomId();
        byte[] query = DnsMessage.WriteQuery(id, name, type);
        if (!MaySend(query.Length))
        {
            return null;
        }

        using Socket socket = await ConnectAsync(server, SocketType.Stream, ProtocolType.Tcp, cancellationToken).ConfigureAwait(false);
        using var stream = new NetworkStream(socket);
        var prefix = new byte[sizeof(ushort)];
        BinaryPrimitives.WriteUInt16BigEndian(prefix, (ushort)query.Length);
        await stream.WriteAsync((byte[])[.. prefix, .. query], cancellationToken).ConfigureAwait(false);
        await stream.ReadExactlyAsync(prefix, cancellationToken).ConfigureAwait(false);
        var received = new byte[BinaryPrimitives.ReadUInt16BigEndian(prefix)];
        await stream.ReadExactlyAsync(received, cancellationToken).ConfigureAwait(false);
        return DnsMessage.ParseAnswer(received, id, name, type);
    }

    private async Task<Socket> ConnectAsync(IPEndPoint server, SocketType type, ProtocolType protocol, CancellationToken cancellationToken)
    {
        var socket = new Socket(server.AddressFamily, type, protocol);
        try
        {
            if (_priority is { } priority)
            {
                const int SOL_SOCKET = 1;
                const int SO_PRIORITY = 12;
                socket.SetRawSocketOption(SOL_SOCKET, SO_PRIORITY, BitConverter.GetBytes(priority));
            }

            await socket.ConnectAsync(server, cancellationToken).ConfigureAwait(false);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    // What is refused is not added: a sum that goes on for ever would come round.
    private bool MaySend(int bytes) => Volatile.Read(ref _sent) <= MostBytes && Interlocked.Add(ref _sent, bytes) <= MostBytes;

    private static ushort RandomId() => (ushort)RandomNumberGenerator.GetInt32(ushort.MaxValue + 1);
}
