using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;

namespace Boxer.Network.Dns;

/// <summary>
/// Resolves names for one sandbox with the configured DNS servers. The bytes of its queries are bounded, because a sandbox can choose names
/// that carry data out. Each query has a random port and a random identifier, and only the queried server can answer it.
/// </summary>
internal sealed class UpstreamResolver : IDisposable
{
    /// <summary>Maximum size of all queries together, in bytes; with a refill time, of those that are sent at once.</summary>
    internal const int MaxBytes = 1 << 20;

    // Each concurrent query has a socket.
    private const int MaxConcurrentQueries = 8;

    // Someone who guesses identifiers has few attempts.
    private const int MaxStrayAnswers = 16;
    private const int MaxAnswerBytes = 4_096;
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(3);
    private readonly IReadOnlyList<IPEndPoint> _servers;
    private readonly uint? _priority;
    private readonly TimeSpan? _refillTime;
    private readonly TimeProvider _time;
    private readonly SemaphoreSlim _slots = new(MaxConcurrentQueries, MaxConcurrentQueries);
    private readonly Lock _budget = new();
    private double _bytesLeft = MaxBytes;
    private long _refilledAt;

    /// <param name="servers">The DNS servers, in the order in which they are queried until one answers.</param>
    /// <param name="priority">
    /// Priority of the sent packets (SO_PRIORITY, socket(7)): the firewall counts them in the quota with this priority. <see langword="null"/>: none.
    /// </param>
    /// <param name="refillTime">Time in which the exhausted budget of <see cref="MaxBytes"/> becomes full again; <see langword="null"/>: never.</param>
    /// <param name="time">The clock.</param>
    internal UpstreamResolver(IReadOnlyList<IPEndPoint> servers, uint? priority, TimeSpan? refillTime, TimeProvider time)
    {
        _servers = servers;
        _priority = priority;
        _refillTime = refillTime;
        _time = time;
        _refilledAt = time.GetTimestamp();
    }

    /// <summary>Resolves a host name.</summary>
    /// <param name="name">The name.</param>
    /// <param name="type"><see cref="DnsType.A"/> or <see cref="DnsType.Aaaa"/>.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <returns><see langword="null"/> if no server answers, or the budget of <see cref="MaxBytes"/> is exhausted.</returns>
    internal async Task<UpstreamAnswer?> ResolveAsync(string name, DnsType type, CancellationToken cancellationToken)
    {
        await _slots.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            foreach (IPEndPoint server in _servers)
            {
                if (await QueryAsync(server, name, type, cancellationToken).ConfigureAwait(false) is { Code: DnsCode.NoError or DnsCode.NameError, IsTruncated: false } answer)
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

    private async Task<UpstreamAnswer?> QueryAsync(IPEndPoint server, string name, DnsType type, CancellationToken cancellationToken)
    {
        using var timeout = new CancellationTokenSource(Timeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, timeout.Token);
        try
        {
            UpstreamAnswer? answer = await QueryOverUdpAsync(server, name, type, either.Token).ConfigureAwait(false);
            return answer is { IsTruncated: true } ? await QueryOverTcpAsync(server, name, type, either.Token).ConfigureAwait(false) : answer;
        }
        catch (Exception exception) when (exception is SocketException or IOException || (exception is OperationCanceledException && !cancellationToken.IsCancellationRequested))
        {
            return null;
        }
    }

    private async Task<UpstreamAnswer?> QueryOverUdpAsync(IPEndPoint server, string name, DnsType type, CancellationToken cancellationToken)
    {
        ushort id = RandomId();
        byte[] query = DnsMessage.WriteQuery(id, name, type);
        if (!TryCount(query.Length))
        {
            return null;
        }

        // The kernel chooses a random port. A connected socket receives datagrams of its server only.
        using Socket socket = await ConnectAsync(server, SocketType.Dgram, ProtocolType.Udp, cancellationToken).ConfigureAwait(false);
        await socket.SendAsync(query, cancellationToken).ConfigureAwait(false);
        var received = new byte[MaxAnswerBytes];
        for (int stray = 0; stray < MaxStrayAnswers; stray++)
        {
            int length = await socket.ReceiveAsync(received, cancellationToken).ConfigureAwait(false);
            if (UpstreamAnswer.Parse(received.AsSpan(0, length), id, name, type) is { } answer)
            {
                return answer;
            }
        }

        return null;
    }

    private async Task<UpstreamAnswer?> QueryOverTcpAsync(IPEndPoint server, string name, DnsType type, CancellationToken cancellationToken)
    {
        ushort id = RandomId();
        byte[] query = DnsMessage.WriteQuery(id, name, type);
        if (!TryCount(query.Length))
        {
            return null;
        }

        using Socket socket = await ConnectAsync(server, SocketType.Stream, ProtocolType.Tcp, cancellationToken).ConfigureAwait(false);
        using var stream = new NetworkStream(socket);
        await TcpMessage.WriteAsync(stream, query, cancellationToken).ConfigureAwait(false);
        byte[]? received = await TcpMessage.ReadAsync(stream, ushort.MaxValue, cancellationToken).ConfigureAwait(false);
        return UpstreamAnswer.Parse(received, id, name, type);
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

    // A query that does not fit exhausts a budget for good, so that no smaller one is sent after it. One that is refilled would never be full enough.
    private bool TryCount(int bytes)
    {
        lock (_budget)
        {
            if (_refillTime is { } refillTime)
            {
                long now = _time.GetTimestamp();
                _bytesLeft = Math.Min(MaxBytes, _bytesLeft + (MaxBytes * (_time.GetElapsedTime(_refilledAt, now) / refillTime)));
                _refilledAt = now;
            }

            bool fits = bytes <= _bytesLeft;
            _bytesLeft = fits ? _bytesLeft - bytes : _refillTime is null ? 0 : _bytesLeft;
            return fits;
        }
    }

    private static ushort RandomId() => (ushort)RandomNumberGenerator.GetInt32(ushort.MaxValue + 1);
}
