using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;

namespace Boxer.Network;

/// <summary>
/// Takes the questions of one sandbox by UDP and TCP, and answers them. Whatever the sandbox does, the number of sockets, of questions at
/// once and of bytes that are held for it is fixed, and each connection ends.
/// </summary>
internal sealed class DnsListener : IAsyncDisposable
{
    /// <summary>Questions that wait for their answers at most; one more is answered with a failure.</summary>
    internal const int MostQuestions = 64;

    /// <summary>Maximum number of connections that are served at once. Others wait in the kernel, which bounds them.</summary>
    internal const int MostServedConnections = 8;

    private const int Attempts = 20;
    private static readonly TimeSpan MessageTimeout = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan ConnectionTimeout = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan BetweenMessages = TimeSpan.FromMilliseconds(5);
    private static readonly TimeSpan AfterFault = TimeSpan.FromMilliseconds(100);
    private readonly IPAddress[] _guests;
    private readonly Func<DnsQuery, Task<DnsReply>> _answer;
    private readonly TimeProvider _time;
    private readonly List<Socket> _sockets;
    private readonly Task _serving;
    private readonly SemaphoreSlim _questions = new(MostQuestions, MostQuestions);
    private readonly SemaphoreSlim _connections = new(MostServedConnections, MostServedConnections);
    private readonly CancellationTokenSource _disposing = new();

    /// <summary>Listens at a port that the kernel chooses, the same for all addresses and for UDP and TCP.</summary>
    /// <param name="pairs">The host's ends, where it listens, and the sandbox's: nobody else is answered.</param>
    /// <param name="answer">Answers a question; does not throw.</param>
    /// <param name="time">The clock.</param>
    internal DnsListener(IReadOnlyList<AddressPair> pairs, Func<DnsQuery, Task<DnsReply>> answer, TimeProvider time)
    {
        _guests = [.. pairs.Select(pair => pair.Guest)];
        _answer = answer;
        _time = time;
        _sockets = Listen([.. pairs.Select(pair => pair.Host)]);
        Port = ((IPEndPoint)_sockets[0].LocalEndPoint!).Port;
        _serving = Task.WhenAll(_sockets.Select(socket => Task.Run(() => socket.SocketType == SocketType.Dgram ? ReceiveAsync(socket) : AcceptAsync(socket))));
    }

    internal int Port { get; }

    public async ValueTask DisposeAsync()
    {
        await _disposing.CancelAsync().ConfigureAwait(false);
        await _serving.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        foreach (Socket socket in _sockets)
        {
            socket.Dispose();
        }

        // Every place is free when every question and connection has ended.
        for (int place = 0; place < MostQuestions; place++)
        {
            await _questions.WaitAsync().ConfigureAwait(false);
        }

        for (int place = 0; place < MostServedConnections; place++)
        {
            await _connections.WaitAsync().ConfigureAwait(false);
        }

        _questions.Dispose();
        _connections.Dispose();
        _disposing.Dispose();
    }

    private static List<Socket> Listen(IReadOnlyList<IPAddress> addresses)
    {
        for (int attempt = 1; ; attempt++)
        {
            List<Socket> sockets = [];
            try
            {
                int port = 0;
                foreach (IPAddress address in addresses)
                {
                    foreach (SocketType type in (SocketType[])[SocketType.Dgram, SocketType.Stream])
                    {
                        var socket = new Socket(address.AddressFamily, type, type == SocketType.Dgram ? ProtocolType.Udp : ProtocolType.Tcp);
                        sockets.Add(socket);
                        socket.Bind(new IPEndPoint(address, port));
                        port = ((IPEndPoint)socket.LocalEndPoint!).Port;
                        if (type == SocketType.Stream)
                        {
                            socket.Listen(MostServedConnections);
                        }
                    }
                }

                return sockets;
            }
            catch (SocketException exception)
            {
                foreach (Socket socket in sockets)
                {
                    socket.Dispose();
                }

                // Somebody else may have the port for one of the protocols.
                if (attempt == Attempts)
                {
                    throw new SandboxRuntimeException($"The resolver of a sandbox cannot listen on {string.Join(" and ", addresses)}: {exception.Message}", exception);
                }
            }
        }
    }

    private async Task ReceiveAsync(Socket socket)
    {
        var anybody = new IPEndPoint(socket.AddressFamily == AddressFamily.InterNetwork ? IPAddress.Any : IPAddress.IPv6Any, 0);
        var buffer = new byte[DnsMessage.MostDatagram + 1];
        while (true)
        {
            try
            {
                SocketReceiveFromResult received = await socket.ReceiveFromAsync(buffer, SocketFlags.None, anybody, _disposing.Token).ConfigureAwait(false);
                if (IsGuest(received.RemoteEndPoint) && received.ReceivedBytes <= DnsMessage.MostDatagram && DnsMessage.ParseQuery(buffer.AsSpan(0, received.ReceivedBytes).ToArray()) is { } query)
                {
                    _ = ReplyAsync(socket, query, received.RemoteEndPoint);
                }
            }
            catch (SocketException)
            {
                await Task.Delay(AfterFault, _time, _disposing.Token).ConfigureAwait(false);
            }
        }
    }

    private async Task ReplyAsync(Socket socket, DnsQuery query, EndPoint peer)
    {
        try
        {
            byte[] reply = DnsMessage.WriteReply(query, await AnswerAsync(query).ConfigureAwait(false), DnsMessage.MostDatagram);
            await socket.SendToAsync(reply, SocketFlags.None, peer, _disposing.Token).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is SocketException or OperationCanceledException or ObjectDisposedException)
        {
            // A datagram that is lost: the sandbox asks again.
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
                await Task.Delay(AfterFault, _time, _disposing.Token).ConfigureAwait(false);
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

    // Until the sandbox closes it, sends what is no query, takes too long for a message, or has had its time.
    private async Task ServeAsync(Socket connection)
    {
        try
        {
            using (connection)
            using (var whole = new CancellationTokenSource(ConnectionTimeout, _time))
            using (var message = new CancellationTokenSource(MessageTimeout, _time))
            using (var any = CancellationTokenSource.CreateLinkedTokenSource(_disposing.Token, whole.Token, message.Token))
            using (var stream = new NetworkStream(connection))
            {
                while (IsGuest(connection.RemoteEndPoint) && await ReadQueryAsync(stream, any.Token).ConfigureAwait(false) is { } query)
                {
                    message.CancelAfter(Timeout.InfiniteTimeSpan);
                    byte[] reply = DnsMessage.WriteReply(query, await AnswerAsync(query).WaitAsync(any.Token).ConfigureAwait(false), ushort.MaxValue);
                    var prefix = new byte[sizeof(ushort)];
                    BinaryPrimitives.WriteUInt16BigEndian(prefix, (ushort)reply.Length);
                    message.CancelAfter(MessageTimeout);
                    await stream.WriteAsync((byte[])[.. prefix, .. reply], any.Token).ConfigureAwait(false);

                    // The firewall limits packets, and one packet may hold a thousand questions.
                    await Task.Delay(BetweenMessages, _time, any.Token).ConfigureAwait(false);
                    message.CancelAfter(MessageTimeout);
                }
            }
        }
        catch (Exception exception) when (exception is IOException or SocketException or OperationCanceledException or ObjectDisposedException)
        {
            // Reset, silent or late: it is closed all the same.
        }
        finally
        {
            _connections.Release();
        }
    }

    private static async Task<DnsQuery?> ReadQueryAsync(NetworkStream stream, CancellationToken cancellationToken)
    {
        var prefix = new byte[sizeof(ushort)];
        await stream.ReadExactlyAsync(prefix, cancellationToken).ConfigureAwait(false);
        int length = BinaryPrimitives.ReadUInt16BigEndian(prefix);
        if (length > DnsMessage.MostDatagram)
        {
            return null;
        }

        var message = new byte[length];
        await stream.ReadExactlyAsync(message, cancellationToken).ConfigureAwait(false);
        return DnsMessage.ParseQuery(message);
    }

    // The firewall keeps others away. It has no rules for this port yet when the first packet may come, and none any more at the end.
    private bool IsGuest(EndPoint? peer) => peer is IPEndPoint { Address: { } address } && _guests.Contains(address);

    private async Task<DnsReply> AnswerAsync(DnsQuery query)
    {
        if (query.Fault != DnsCode.NoError)
        {
            return new DnsReply(query.Fault);
        }

        if (!await _questions.WaitAsync(TimeSpan.Zero, CancellationToken.None).ConfigureAwait(false))
        {
            return new DnsReply(DnsCode.ServerFailure);
        }

        try
        {
            return await _answer(query).ConfigureAwait(false);
        }
        finally
        {
            _questions.Release();
        }
    }
}
