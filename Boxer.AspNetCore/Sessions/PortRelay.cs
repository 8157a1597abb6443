using System.Net.WebSockets;

namespace Boxer.AspNetCore.Sessions;

/// <summary>
/// Copies bytes between a WebSocket and a connection into a sandbox. The end of each direction is passed on: a close frame as the end of the bytes to the
/// sandbox, and the end of its bytes as a close frame. The other direction goes on meanwhile.
/// </summary>
/// <param name="socket">The WebSocket.</param>
/// <param name="connection">The connection.</param>
/// <param name="session">The session of the connection.</param>
/// <param name="client">The stream of the WebSocket; <see langword="null"/> if the server watches its clients itself.</param>
/// <param name="time">The clock.</param>
internal sealed class PortRelay(WebSocket socket, SandboxConnection connection, ISandboxSession session, MonitoredStream? client, TimeProvider time) : IDisposable
{
    /// <summary>Close status of a connection whose session ended: 4000 and the HTTP status.</summary>
    internal const WebSocketCloseStatus SessionEnded = (WebSocketCloseStatus)4_410;

    /// <summary>Time without a message after which a client that does not answer the close frame is disconnected.</summary>
    internal static readonly TimeSpan ClosingTime = TimeSpan.FromSeconds(60);

    /// <summary>
    /// Time without a sign of life after which a client is disconnected. A client in a single thread answers pings only while it reads. While nothing is
    /// read from the client, bytes in either direction are the sign.
    /// </summary>
    internal static readonly TimeSpan DeadTime = TimeSpan.FromMinutes(10);

    /// <summary>Interval of pings.</summary>
    internal static readonly TimeSpan PingInterval = TimeSpan.FromMinutes(1);

    private const int BufferBytes = 64 << 10;

    private readonly CancellationTokenSource _stopped = new();

    private WebSocketCloseStatus _status = WebSocketCloseStatus.NormalClosure;

    private long _lastMessage = time.GetTimestamp();

    /// <summary>Closes the connection because the host stops.</summary>
    public void Stop() => Close(WebSocketCloseStatus.EndpointUnavailable);

    /// <summary>Copies until both directions have ended.</summary>
    /// <param name="cancellationToken">Ends both directions at once.</param>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        using CancellationTokenSource ended = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task toSandbox = CopyToSandboxAsync(ended.Token);
        Task monitor = MonitorAsync(ended);
        try
        {
            await CopyToClientAsync(ended.Token);
            await WaitForClientAsync(toSandbox, ended.Token);
        }
        catch (Exception exception) when (exception is WebSocketException or OperationCanceledException)
        {
            // The client has disconnected.
        }
        finally
        {
            await ended.CancelAsync();
            await toSandbox;
            await monitor;
            socket.Abort();
        }
    }

    public void Dispose() => _stopped.Dispose();

    private async Task CopyToClientAsync(CancellationToken cancellationToken)
    {
        using CancellationTokenSource reading = CancellationTokenSource.CreateLinkedTokenSource(_stopped.Token, cancellationToken);
        byte[] buffer = new byte[BufferBytes];
        try
        {
            int read;
            while ((read = await connection.ReadAsync(buffer, reading.Token)) > 0)
            {
                await socket.SendAsync(buffer.AsMemory(0, read), WebSocketMessageType.Binary, endOfMessage: true, cancellationToken);
            }
        }
        catch (Exception exception) when (exception is IOException or SandboxException)
        {
            _status = WebSocketCloseStatus.InternalServerError;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            // The status has the reason.
        }

        client?.EndPings();
        await (session.End is { } end && _status != WebSocketCloseStatus.EndpointUnavailable
            ? socket.CloseOutputAsync(SessionEnded, SessionNames.Of(end), cancellationToken)
            : socket.CloseOutputAsync(_status, statusDescription: null, cancellationToken));
    }

    // Exceptions end the other direction, which closes the connection.
    private async Task CopyToSandboxAsync(CancellationToken cancellationToken)
    {
        byte[] buffer = new byte[BufferBytes];
        bool isOpen = true;
        try
        {
            while (true)
            {
                ValueWebSocketReceiveResult message = await socket.ReceiveAsync(buffer.AsMemory(), cancellationToken);
                Volatile.Write(ref _lastMessage, time.GetTimestamp());
                switch (message.MessageType)
                {
                    case WebSocketMessageType.Close:
                        _ = await TryAsync(connection.CloseWriteAsync(cancellationToken));
                        return;
                    case WebSocketMessageType.Text:
                        // The client still has to get the close frame, and to answer it.
                        Close(WebSocketCloseStatus.InvalidMessageType);
                        isOpen = false;
                        break;
                    default:
                        // If the sandbox takes no more bytes, the rest is dropped: there may still be an answer from it.
                        isOpen = isOpen && await TryAsync(connection.WriteAsync(buffer.AsMemory(0, message.Count), cancellationToken));
                        break;
                }
            }
        }
        catch (Exception exception) when (exception is WebSocketException or OperationCanceledException)
        {
            Close(WebSocketCloseStatus.InternalServerError);
        }
    }

    // A client that is dead, behind a proxy that is not, must not keep the session from being idle.
    private async Task MonitorAsync(CancellationTokenSource ended)
    {
        using PeriodicTimer timer = new(PingInterval, time);
        try
        {
            while (client is not null && await timer.WaitForNextTickAsync(ended.Token))
            {
                if (session.State == SandboxSessionState.Paused)
                {
                    // The sandbox can neither take nor send anything.
                    client.EndRest();
                }

                if (client.Silence >= DeadTime || client.Stall >= DeadTime || client.Rest >= DeadTime)
                {
                    await ended.CancelAsync();
                }
                else if (socket.State == WebSocketState.Open)
                {
                    _ = client.PingAsync(ended.Token);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The relay has ended.
        }
    }

    private async Task WaitForClientAsync(Task toSandbox, CancellationToken cancellationToken)
    {
        Volatile.Write(ref _lastMessage, time.GetTimestamp());
        while (!toSandbox.IsCompleted && time.GetElapsedTime(Volatile.Read(ref _lastMessage)) < ClosingTime)
        {
            using CancellationTokenSource woken = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            await Task.WhenAny(toSandbox, Task.Delay(ClosingTime, time, woken.Token));
            await woken.CancelAsync();
        }
    }

    private static async Task<bool> TryAsync(ValueTask write)
    {
        try
        {
            await write;
            return true;
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException or SandboxException)
        {
            return false;
        }
    }

    private void Close(WebSocketCloseStatus status)
    {
        _status = status;
        _stopped.Cancel();
    }
}
