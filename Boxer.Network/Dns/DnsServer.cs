using System.Net;
using System.Net.Sockets;
using Boxer.Network.Links;

namespace Boxer.Network.Dns;

/// <summary>
/// Receives the DNS queries of one sandbox over UDP and TCP, and sends the responses. Sockets, concurrent queries and buffers are bounded whatever
/// the sandbox sends, and each connection ends.
/// </summary>
internal sealed class DnsServer : IAsyncDisposable
{
    /// <summary>Maximum number of concurrent queries. Further ones get a <see cref="DnsCode.ServerFailure"/>.</summary>
    internal const int MaxQueries = 64;

    /// <summary>Maximum number of connections that are served at once. Others wait in the kernel, which bounds them.</summary>
    internal const int MaxConnections = 8;

    private const int MaxBindAttempts = 20;
    private static readonly TimeSpan MessageTimeout = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan ConnectionTimeout = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan QueryInterval = TimeSpan.FromMilliseconds(5);
    private static readonly TimeSpan SocketErrorDelay = TimeSpan.FromMilliseconds(100);
    private readonly IPAddress[] _guests;
    private readonly Func<DnsQuery, Task<DnsResponse>> _answer;
    private readonly TimeProvider _time;
    private readonly List<Socket> _sockets;
    private readonly Task _serving;
    private readonly SemaphoreSlim _queries = new(MaxQueries, MaxQueries);
    private readonly SemaphoreSlim _connections = new(MaxConnections, MaxConnections);
    private readonly CancellationTokenSource _disposing = new();

    /// <summary>Starts to listen, on one port that the kernel chooses for all addresses and for UDP and TCP.</summary>
    /// <param name="pairs">Addresses of the link: the server listens on the host's ends, and serves the sandbox's ends only.</param>
    /// <param name="answer">Answers a query. Does not throw.</param>
    /// <param name="time">The clock.</param>
    /// <exception cref="SandboxRuntimeException">No port is free on all addresses.</exception>
    internal DnsServer(IReadOnlyList<AddressPair> pairs, Func<DnsQuery, Task<DnsResponse>> answer, TimeProvider time)
    {
        _guests = [.. pairs.Select(pair => pair.Guest)];
        _answer = answer;
        _time = time;
        _sockets = Listen([.. pairs.Select(pair => pair.Host)]);
        Port = ((IPEndPoint)_sockets[0].LocalEndPoint!).Port;
        _serving = Task.WhenAll(_sockets.Select(socket => Task.Run(() => socket.SocketType == SocketType.Dgram ? ReceiveAsync(socket) : AcceptAsync(socket))));
    }

    /// <summary>The port that the server listens on.</summary>
    internal int Port { get; }

    public async ValueTask DisposeAsync()
    {
        await _disposing.CancelAsync().ConfigureAwait(false);
        await _serving.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        foreach (Socket socket in _sockets)
        {
            socket.Dispose();
        }

        await DrainAsync(_queries, MaxQueries).ConfigureAwait(false);
        await DrainAsync(_connections, MaxConnections).ConfigureAwait(false);
        _queries.Dispose();
        _connections.Dispose();
        _disposing.Dispose();

        // All slots are free once every query and connection has ended.
        static async Task DrainAsync(SemaphoreSlim slots, int count)
        {
            for (int slot = 0; slot < count; slot++)
            {
                await slots.WaitAsync().ConfigureAwait(false);
            }
        }
    }

    private static List<Socket> Listen(IReadOnlyList<IPAddress> addresses)
    {
        for (int attempt = 1; ; attempt++)
        {
            List<Socket> sockets = [];
            try
            {
                Bind(addresses, sockets);
                return sockets;
            }
            catch (SocketException exception)
            {
                foreach (Socket socket in sockets)
                {
                    socket.Dispose();
                }

                // The port that the kernel chose for the first socket may be in use for another one.
                if (attempt == MaxBindAttempts)
                {
                    throw new SandboxRuntimeException($"The resolver of a sandbox cannot listen on {string.Join(" and ", addresses)}: {exception.Message}", exception);
                }
            }
        }
    }

    // Each socket is in the list before anything can fail.
    private static void Bind(IReadOnlyList<IPAddress> addresses, List<Socket> sockets)
    {
        int port = 0;
        foreach (IPAddress address in addresses)
        {
            var udp = new Socket(address.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
            sockets.Add(udp);
            udp.Bind(new IPEndPoint(address, port));
            port = ((IPEndPoint)udp.LocalEndPoint!).Port;
            var tcp = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            sockets.Add(tcp);
            tcp.Bind(new IPEndPoint(address, port));
            tcp.Listen(MaxConnections);
        }
    }

    private async Task ReceiveAsync(Socket socket)
    {
        var anyPeer = new IPEndPoint(socket.AddressFamily == AddressFamily.InterNetwork ? IPAddress.Any : IPAddress.IPv6Any, 0);
        var buffer = new byte[DnsMessage.MaxDatagramBytes + 1];
        while (true)
        {
            try
            {
                SocketReceiveFromResult received = await socket.ReceiveFromAsync(buffer, SocketFlags.None, anyPeer, _disposing.Token).ConfigureAwait(false);
                if (IsGuest(received.RemoteEndPoint) && received.ReceivedBytes <= DnsMessage.MaxDatagramBytes && DnsQuery.Parse(buffer.AsSpan(0, received.ReceivedBytes).ToArray()) is { } query)
                {
                    _ = RespondAsync(socket, query, received.RemoteEndPoint);
                }
            }
            catch (SocketException)
            {
                await Task.Delay(SocketErrorDelay, _time, _disposing.Token).ConfigureAwait(false);
            }
        }
    }

    private async Task RespondAsync(Socket socket, DnsQuery query, EndPoint peer)
    {
        try
        {
            byte[] response = (await AnswerAsync(query).ConfigureAwait(false)).Write(query, DnsMessage.MaxDatagramBytes);
            await socket.SendToAsync(response, SocketFlags.None, peer, _disposing.Token).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is SocketException or OperationCanceledException or ObjectDisposedException)
        {
            // The sandbox repeats a query whose response was lost.
        }
    }

    private async Task AcceptAsync(Socket listener)
    {
        while (true)
        {
            await _connections.WaitAsync(_disposing.Token).ConfigureAwait(false);
            Socket connection;
            try
            {
                connection = await listener.AcceptAsync(_disposing.Token).ConfigureAwait(false);
            }
            catch (SocketException)
            {
                _connections.Release();
                await Task.Delay(SocketErrorDelay, _time, _disposing.Token).ConfigureAwait(false);
                continue;
            }
            catch (OperationCanceledException)
            {
                _connections.Release();
                throw;
            }

            _ = ServeAsync(connection);
        }
    }

    // Ends when the sandbox closes the connection, sends something else than a query or exceeds a timeout.
    private async Task ServeAsync(Socket connection)
    {
        try
        {
            using (connection)
            using (var connectionTimeout = new CancellationTokenSource(ConnectionTimeout, _time))
            using (var messageTimeout = new CancellationTokenSource(MessageTimeout, _time))
            using (var ending = CancellationTokenSource.CreateLinkedTokenSource(_disposing.Token, connectionTimeout.Token, messageTimeout.Token))
            using (var stream = new NetworkStream(connection))
            {
                while (IsGuest(connection.RemoteEndPoint) && await ReadQueryAsync(stream, ending.Token).ConfigureAwait(false) is { } query)
                {
                    messageTimeout.CancelAfter(Timeout.InfiniteTimeSpan);
                    byte[] response = (await AnswerAsync(query).WaitAsync(ending.Token).ConfigureAwait(false)).Write(query, ushort.MaxValue);
                    messageTimeout.CancelAfter(MessageTimeout);
                    await TcpMessage.WriteAsync(stream, response, ending.Token).ConfigureAwait(false);

                    // The firewall limits packets, but one packet can hold a thousand queries.
                    await Task.Delay(QueryInterval, _time, ending.Token).ConfigureAwait(false);
                    messageTimeout.CancelAfter(MessageTimeout);
                }
            }
        }
        catch (Exception exception) when (exception is IOException or SocketException or OperationCanceledException or ObjectDisposedException)
        {
            // The connection was reset or timed out.
        }
        finally
        {
            _connections.Release();
        }
    }

    private static async Task<DnsQuery?> ReadQueryAsync(NetworkStream stream, CancellationToken cancellationToken) =>
        await TcpMessage.ReadAsync(stream, DnsMessage.MaxDatagramBytes, cancellationToken).ConfigureAwait(false) is { } message ? DnsQuery.Parse(message) : null;

    // The firewall rejects packets of others. Its rules for this port are installed after the server starts, and removed before it ends.
    private bool IsGuest(EndPoint? peer) => peer is IPEndPoint { Address: { } address } && _guests.Contains(address);

    private async Task<DnsResponse> AnswerAsync(DnsQuery query)
    {
        if (query.Fault != DnsCode.NoError)
        {
            return new DnsResponse(query.Fault);
        }

        if (!await _queries.WaitAsync(TimeSpan.Zero, CancellationToken.None).ConfigureAwait(false))
        {
            return new DnsResponse(DnsCode.ServerFailure);
        }

        try
        {
            return await _answer(query).ConfigureAwait(false);
        }
        finally
        {
            _queries.Release();
        }
    }
}
