using System.Buffers;
using System.Net.Sockets;

namespace Boxer.Runtime.Init;

/// <summary>
/// The host's end of the control socket of one sandbox. Sends may come from any thread; one reader at a time.
/// </summary>
/// <remarks>
/// A send to a PID 1 that has closed the socket ends quietly: why it did, and then <see cref="InitClosed"/>, come from
/// <see cref="ReadEventAsync"/>, which is the one place to learn how a sandbox fares. A send that was cancelled in the middle of
/// a frame closes the sending side, on which PID 1 kills everything and exits.
/// </remarks>
internal sealed class InitChannel : IAsyncDisposable
{
    private readonly Socket _socket;
    private readonly InitConversation _conversation = new();
    private readonly SemaphoreSlim _sending = new(1, 1);
    private readonly byte[] _received = ArrayPool<byte>.Shared.Rent(InitProtocol.HeaderSize + InitProtocol.MaxPayload);
    private int _start;
    private int _end;
    private bool _sendClosed;
    private bool _readClosed;
    private int _disposed;

    /// <summary>Takes over the socket.</summary>
    /// <param name="socket">The host's end of an AF_UNIX stream socketpair; disposed with this channel.</param>
    internal InitChannel(Socket socket)
    {
        ArgumentNullException.ThrowIfNull(socket);
        _socket = socket;
    }

    /// <summary>Whether PID 1 has neither said anything that was not read, nor hung up.</summary>
    internal bool IsSilent => _start == _end && !_socket.Poll(0, SelectMode.SelectRead);

    /// <summary>Waits until PID 1 has booted.</summary>
    /// <exception cref="InitProtocolException">PID 1 said something else, or speaks another version, or reports a fault.</exception>
    /// <exception cref="EndOfStreamException">PID 1 or its sandbox died before.</exception>
    internal async Task ReadReadyAsync(CancellationToken cancellationToken)
    {
        switch (await ReadEventAsync(cancellationToken).ConfigureAwait(false))
        {
            case InitReady:
                return;
            case InitClosed:
                throw new EndOfStreamException("The sandbox ended before its PID 1 was ready.");
            case InitFault fault:
                throw new InitProtocolException($"PID 1 could not boot: {fault.Stage} (errno {fault.Errno}).");
            case var other:
                throw new InitProtocolException($"PID 1 sent {other.GetType().Name} before it was ready.");
        }
    }

    /// <summary>Sends what to run; PID 1 prepares it at once and waits for files and <see cref="GoAsync"/>.</summary>
    /// <param name="start">The work.</param>
    /// <param name="frame">Its START frame (<see cref="InitProtocol.EncodeStart"/>).</param>
    /// <param name="cancellationToken">Cancels the call; the channel is of no use after.</param>
    /// <exception cref="InvalidOperationException">PID 1 is not ready, or this was called before.</exception>
    internal async Task StartAsync(InitStart start, ReadOnlyMemory<byte> frame, CancellationToken cancellationToken)
    {
        _conversation.Begin(start);
        await SendAsync(frame, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Has a command executed before the wait; see PROTOCOL.md.</summary>
    /// <param name="frame">The WARM_UP frame of the command and what it is to find; its outputs and what it prints go nowhere.</param>
    /// <param name="cancellationToken">Gives up; the channel is of no use after.</param>
    /// <returns>How it ended: whatever that is, PID 1 waits.</returns>
    /// <exception cref="InvalidOperationException">PID 1 is not ready, or has its work already.</exception>
    /// <exception cref="InitProtocolException">PID 1 said something else, or reports a fault.</exception>
    /// <exception cref="EndOfStreamException">PID 1 or its sandbox died.</exception>
    internal async Task<InitWarmedUp> WarmUpAsync(ReadOnlyMemory<byte> frame, CancellationToken cancellationToken)
    {
        _conversation.BeginWarmUp();
        await SendAsync(frame, cancellationToken).ConfigureAwait(false);
        return await ReadEventAsync(cancellationToken).ConfigureAwait(false) switch
        {
            InitWarmedUp end => end,
            InitClosed => throw new EndOfStreamException("The sandbox ended while it warmed up."),
            InitFault fault => throw new InitProtocolException($"PID 1 could not warm up: {fault.Stage} (errno {fault.Errno})."),
            var other => throw new InitProtocolException($"PID 1 sent {other.GetType().Name} while it warmed up."),
        };
    }

    /// <summary>Sends one input file; call it between <see cref="StartAsync"/> and <see cref="GoAsync"/>, one at a time.</summary>
    /// <param name="path">The absolute path in the sandbox; parents are made, an existing file is replaced.</param>
    /// <param name="executable">Mode 0555 instead of 0444.</param>
    /// <param name="content">The content, read to its end.</param>
    /// <param name="cancellationToken">Gives up; the channel is of no use after.</param>
    /// <exception cref="ArgumentException">The path is not a clean absolute path.</exception>
    internal async Task SendFileAsync(string path, bool executable, Stream content, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(content);
        await SendAsync(InitProtocol.EncodeFileBegin(path, executable), cancellationToken).ConfigureAwait(false);
        byte[] buffer = ArrayPool<byte>.Shared.Rent(InitProtocol.HeaderSize + InitProtocol.MaxPayload);
        try
        {
            Memory<byte> payload = buffer.AsMemory(InitProtocol.HeaderSize, InitProtocol.MaxPayload);
            int read;
            while (!_sendClosed && (read = await content.ReadAsync(payload, cancellationToken).ConfigureAwait(false)) > 0)
            {
                InitProtocol.WriteHeader(buffer, InitFrameType.FileData, read);
                await SendAsync(buffer.AsMemory(0, InitProtocol.HeaderSize + read), cancellationToken).ConfigureAwait(false);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }

        await SendAsync(InitProtocol.EncodeEmpty(InitFrameType.FileEnd), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Sends whole frames of the workspace; call it as <see cref="SendFileAsync"/>.</summary>
    internal Task SendFramesAsync(ReadOnlyMemory<byte> frames, CancellationToken cancellationToken) => SendAsync(frames, cancellationToken);

    /// <summary>Has the command executed.</summary>
    internal Task GoAsync(CancellationToken cancellationToken) =>
        SendAsync(InitProtocol.EncodeEmpty(InitFrameType.Go), cancellationToken);

    /// <summary>Has every process killed; the end is reported as usual. Before <see cref="GoAsync"/>, PID 1 just exits.</summary>
    internal Task KillAsync(CancellationToken cancellationToken) =>
        SendAsync(InitProtocol.EncodeEmpty(InitFrameType.Kill), cancellationToken);

    /// <summary>Sends a signal to the command's process group.</summary>
    /// <param name="signal">1 to 64.</param>
    /// <param name="cancellationToken">Gives up.</param>
    internal Task SignalAsync(int signal, CancellationToken cancellationToken) =>
        SendAsync(InitProtocol.EncodeSignal(signal), cancellationToken);

    /// <summary>
    /// Reads the next event. After a run without outputs, or after <see cref="InitOutputDone"/>, there is nothing to wait for:
    /// dispose the channel, and PID 1 exits.
    /// </summary>
    /// <returns>The event; <see cref="InitClosed"/> at the end, again and again.</returns>
    /// <exception cref="InitProtocolException">PID 1 broke the protocol; destroy the sandbox.</exception>
    internal async ValueTask<InitEvent> ReadEventAsync(CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
        if (!await FillAsync(InitProtocol.HeaderSize, cancellationToken).ConfigureAwait(false))
        {
            return new InitClosed();
        }

        (InitFrameType type, int length) = InitProtocol.ReadHeader(_received.AsSpan(_start, InitProtocol.HeaderSize));
        if (!await FillAsync(InitProtocol.HeaderSize + length, cancellationToken).ConfigureAwait(false))
        {
            return new InitClosed();
        }

        InitEvent initEvent = InitProtocol.Decode(type, _received.AsMemory(_start + InitProtocol.HeaderSize, length));
        _start += InitProtocol.HeaderSize + length;
        _conversation.Accept(initEvent);
        return initEvent;
    }

    /// <summary>Closes the socket; PID 1 kills what is left and exits. No read may be under way.</summary>
    public ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            _socket.Dispose();
            _sending.Dispose();
            ArrayPool<byte>.Shared.Return(_received);
        }

        return ValueTask.CompletedTask;
    }

    // A frame that is cut off by the end of the stream is dropped: PID 1 died while it wrote.
    private async ValueTask<bool> FillAsync(int count, CancellationToken cancellationToken)
    {
        while (_end - _start < count)
        {
            if (_readClosed)
            {
                return false;
            }

            if (_start > 0)
            {
                _received.AsSpan(_start, _end - _start).CopyTo(_received);
                _end -= _start;
                _start = 0;
            }

            int read;
            try
            {
                read = await _socket.ReceiveAsync(_received.AsMemory(_end), SocketFlags.None, cancellationToken).ConfigureAwait(false);
            }
            catch (SocketException exception) when (IsClosed(exception))
            {
                read = 0;
            }

            _readClosed = read == 0;
            _end += read;
        }

        return true;
    }

    private async Task SendAsync(ReadOnlyMemory<byte> frame, CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
        await _sending.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            bool complete = false;
            try
            {
                while (!_sendClosed && frame.Length > 0)
                {
                    int sent = await _socket.SendAsync(frame, SocketFlags.None, cancellationToken).ConfigureAwait(false);
                    frame = frame[sent..];
                }

                complete = true;
            }
            catch (SocketException exception) when (IsClosed(exception))
            {
                _sendClosed = true;
                complete = true;
            }
            finally
            {
                if (!complete)
                {
                    CloseSending();
                }
            }
        }
        finally
        {
            _sending.Release();
        }
    }

    private void CloseSending()
    {
        _sendClosed = true;
        try
        {
            _socket.Shutdown(SocketShutdown.Send);
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // Closed already, which is what was wanted.
        }
    }

    private static bool IsClosed(SocketException exception) => exception.SocketErrorCode is
        SocketError.ConnectionReset or SocketError.ConnectionAborted or SocketError.Shutdown or SocketError.NotConnected;
}
