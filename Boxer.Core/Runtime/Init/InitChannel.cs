using System.Buffers;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Boxer.Native;

namespace Boxer.Runtime.Init;

/// <summary>
/// Host's end of the control socket of one sandbox. Any thread may send; only one may read at a time.
/// </summary>
/// <remarks>
/// A send succeeds if PID 1 has closed the socket: <see cref="ReadEventAsync"/> alone reports the state of a sandbox, first the reason and then
/// <see cref="InitClosed"/>. A send that is cancelled in the middle of a frame closes the sending side; PID 1 then kills every process and exits.
/// </remarks>
internal sealed class InitChannel : IAsyncDisposable
{
    private static readonly TimeSpan WritePatience = TimeSpan.FromSeconds(0.1);
    private readonly Socket _socket;
    private readonly InitConversation _conversation = new();
    private readonly SemaphoreSlim _sending = new(1, 1);
    private readonly byte[] _received = ArrayPool<byte>.Shared.Rent(InitProtocol.HeaderSize + InitProtocol.MaxPayload);
    private int _start;
    private int _end;
    private bool _sendClosed;
    private bool _readClosed;

    // Whether GO is the last frame that was sent.
    private volatile bool _goIsLast;
    private volatile bool _goIsUnread;
    private volatile bool _isSending;
    private int _disposed;

    /// <summary>Initializes a channel.</summary>
    /// <param name="socket">Host's end of an AF_UNIX stream socketpair. The channel disposes it.</param>
    internal InitChannel(Socket socket)
    {
        ArgumentNullException.ThrowIfNull(socket);
        _socket = socket;
    }

    /// <summary>Whether there is nothing to read: neither an event nor the end of the socket.</summary>
    internal bool IsSilent => _start == _end && !_socket.Poll(0, SelectMode.SelectRead);

    /// <summary>
    /// Whether it is certain that PID 1 did not read GO before its sandbox ended: the socket was closed before, or was closed with GO unread, which
    /// Linux reports as a reset (unix_release_sock in net/unix/af_unix.c). After further frames a reset may mean those.
    /// </summary>
    internal bool IsGoUnread => _goIsUnread;

    /// <summary>Whether frames wait for PID 1 to take them, or were cancelled while they did.</summary>
    internal bool IsSending => _isSending;

    /// <summary>Waits until PID 1 has booted.</summary>
    /// <param name="cancellationToken">Cancels the wait.</param>
    /// <exception cref="InitProtocolException">PID 1 sent another event, uses another version, or reports a fault.</exception>
    /// <exception cref="EndOfStreamException">PID 1 or its sandbox died.</exception>
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

    /// <summary>Sends START. PID 1 prepares the run at once and waits for files and <see cref="GoAsync"/>.</summary>
    /// <param name="start">Description of the run.</param>
    /// <param name="frame">Its START frame (<see cref="InitEncoder.EncodeStart"/>).</param>
    /// <param name="streams">
    /// Standard input, output and error of the command, which stay open here; empty if the runtime passed them at boot.
    /// </param>
    /// <param name="cancellationToken">Cancels the send; the channel cannot be used afterwards.</param>
    /// <exception cref="InvalidOperationException">PID 1 is not ready, or START was sent before.</exception>
    internal async Task StartAsync(InitStart start, ReadOnlyMemory<byte> frame, IReadOnlyList<SafeHandle> streams, CancellationToken cancellationToken)
    {
        _conversation.Begin(start);
        await SendAsync(frame, cancellationToken, descriptors: streams).ConfigureAwait(false);
    }

    /// <summary>Finds out whether the runtime delivers descriptors to a booted sandbox.</summary>
    /// <param name="descriptor">A pipe, which stays open here.</param>
    /// <param name="cancellationToken">Cancels the wait; the channel cannot be used afterwards.</param>
    /// <exception cref="InitProtocolException">PID 1 sent another event, or reports a fault.</exception>
    /// <exception cref="EndOfStreamException">PID 1 or its sandbox died.</exception>
    internal async Task<bool> ProbeAsync(SafeHandle descriptor, CancellationToken cancellationToken)
    {
        _conversation.BeginProbe();
        await SendAsync(InitEncoder.EncodeEmpty(InitFrameType.Probe), cancellationToken, descriptors: [descriptor]).ConfigureAwait(false);
        return await ReadEventAsync(cancellationToken).ConfigureAwait(false) switch
        {
            InitProbed probed => probed.Descriptors == 1,
            InitClosed => throw new EndOfStreamException("The sandbox ended before its PID 1 was ready."),
            InitFault fault => throw new InitProtocolException($"PID 1 could not boot: {fault.Stage} (errno {fault.Errno})."),
            var other => throw new InitProtocolException($"PID 1 sent {other.GetType().Name} before it was ready."),
        };
    }

    /// <summary>Sends OPEN. Files and the workspace follow as after START; <see cref="GoAsync"/> is answered by <see cref="InitOpened"/>.</summary>
    /// <param name="frame">OPEN frame (<see cref="InitEncoder.EncodeOpen"/>).</param>
    /// <param name="cancellationToken">Cancels the send; the channel cannot be used afterwards.</param>
    /// <exception cref="InvalidOperationException">PID 1 is not ready, or START or OPEN was sent before.</exception>
    internal Task OpenAsync(ReadOnlyMemory<byte> frame, CancellationToken cancellationToken)
    {
        _conversation.BeginSession();
        return SendAsync(frame, cancellationToken);
    }

    /// <summary>Sends a frame of an open session. <see cref="SessionChannel"/> records it before.</summary>
    /// <param name="frame">The frame.</param>
    /// <param name="descriptors">Descriptors that go with its first byte, which stay open here.</param>
    /// <param name="cancellationToken">Cancels the send; the channel cannot be used afterwards.</param>
    internal Task SendSessionFrameAsync(ReadOnlyMemory<byte> frame, IReadOnlyList<SafeHandle> descriptors, CancellationToken cancellationToken) =>
        SendAsync(frame, cancellationToken, descriptors: descriptors);

    /// <summary>Runs a command to warm up the sandbox (see PROTOCOL.md), and waits for its end.</summary>
    /// <param name="frame">WARM_UP frame of the command. Its output is discarded.</param>
    /// <param name="cancellationToken">Cancels the wait; the channel cannot be used afterwards.</param>
    /// <returns>End of the command. PID 1 is then ready for START, however the command ended.</returns>
    /// <exception cref="InvalidOperationException">PID 1 is not ready, or START was sent before.</exception>
    /// <exception cref="InitProtocolException">PID 1 sent another event, or reports a fault.</exception>
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

    /// <summary>Sends one input file. Call it between <see cref="StartAsync"/> and <see cref="GoAsync"/>, for one file at a time.</summary>
    /// <param name="path">Absolute path in the sandbox. PID 1 makes missing parents and replaces an existing file.</param>
    /// <param name="executable">Whether the file has the mode 0555 instead of 0444.</param>
    /// <param name="content">Content, read to its end.</param>
    /// <param name="cancellationToken">Cancels the send; the channel cannot be used afterwards.</param>
    /// <exception cref="ArgumentException">The path is not a clean absolute path.</exception>
    internal async Task SendFileAsync(string path, bool executable, Stream content, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(content);
        await SendAsync(InitEncoder.EncodeFileBegin(path, executable), cancellationToken).ConfigureAwait(false);
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

        await SendAsync(InitEncoder.EncodeEmpty(InitFrameType.FileEnd), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Sends complete frames of the workspace. Call it between <see cref="StartAsync"/> and <see cref="GoAsync"/>.</summary>
    /// <param name="frames">Frames, one after the other.</param>
    /// <param name="cancellationToken">Cancels the send; the channel cannot be used afterwards.</param>
    internal Task SendFramesAsync(ReadOnlyMemory<byte> frames, CancellationToken cancellationToken) => SendAsync(frames, cancellationToken);

    /// <summary>Starts the command.</summary>
    /// <param name="cancellationToken">Cancels the send; the channel cannot be used afterwards.</param>
    internal Task GoAsync(CancellationToken cancellationToken) =>
        SendAsync(InitEncoder.EncodeEmpty(InitFrameType.Go), cancellationToken, isGo: true);

    /// <summary>Kills every process of the command. PID 1 reports the end as usual. Before <see cref="GoAsync"/>, it exits.</summary>
    /// <param name="cancellationToken">Cancels the send; the channel cannot be used afterwards.</param>
    internal Task KillAsync(CancellationToken cancellationToken) =>
        SendAsync(InitEncoder.EncodeEmpty(InitFrameType.Kill), cancellationToken);

    /// <summary>Sends a signal to the command's process group.</summary>
    /// <param name="signal">Number of the signal, 1 to 64.</param>
    /// <param name="cancellationToken">Cancels the send; the channel cannot be used afterwards.</param>
    internal Task SignalAsync(int signal, CancellationToken cancellationToken) =>
        SendAsync(InitEncoder.EncodeSignal(signal), cancellationToken);

    /// <summary>
    /// Reads the next event. After the end of a run without outputs, or after the last <see cref="InitOutputDone"/>, no event follows:
    /// dispose the channel, and PID 1 exits.
    /// </summary>
    /// <param name="cancellationToken">Cancels the read; a later read continues it.</param>
    /// <returns>The event. At the end of the socket, each read returns <see cref="InitClosed"/>.</returns>
    /// <exception cref="InitProtocolException">PID 1 violated the protocol. Destroy the sandbox.</exception>
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

        InitEvent initEvent = InitDecoder.Decode(type, _received.AsMemory(_start + InitProtocol.HeaderSize, length));
        _start += InitProtocol.HeaderSize + length;
        _conversation.Accept(initEvent);
        return initEvent;
    }

    /// <summary>Closes the socket. PID 1 kills every process and exits. No read may be pending.</summary>
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

    // An incomplete frame at the end of the stream is dropped: PID 1 died while it wrote.
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
                _goIsUnread |= _goIsLast && exception.SocketErrorCode == SocketError.ConnectionReset;
                read = 0;
            }

            _readClosed = read == 0;
            _end += read;
        }

        return true;
    }

    private async Task SendAsync(
        ReadOnlyMemory<byte> frame, CancellationToken cancellationToken, bool isGo = false, IReadOnlyList<SafeHandle>? descriptors = null)
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
        await _sending.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            _isSending = true;
            _goIsLast = isGo;
            bool complete = false;
            try
            {
                if (!_sendClosed && descriptors is { Count: > 0 })
                {
                    frame = frame[await SendWithDescriptorsAsync(frame, descriptors, cancellationToken).ConfigureAwait(false)..];
                }

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
                _goIsUnread |= isGo && _sendClosed;
                _isSending = !complete;
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

    // .NET has no call that sends descriptors.
    private async Task<int> SendWithDescriptorsAsync(ReadOnlyMemory<byte> frame, IReadOnlyList<SafeHandle> descriptors, CancellationToken cancellationToken)
    {
        while (true)
        {
            int sent = SysSocket.SendDescriptors(_socket.SafeHandle, frame.Span, [.. descriptors]);
            if (sent >= 0)
            {
                return sent;
            }

            int error = Marshal.GetLastPInvokeError();
            if (error != Errno.EAGAIN)
            {
                // Sockets of this kind report a peer that closed as EPIPE or ECONNRESET.
                throw new SocketException((int)(error is Errno.EPIPE or Errno.ECONNRESET ? SocketError.ConnectionReset : SocketError.Fault), $"sendmsg failed (errno {error}).");
            }

            await Task.Run(() => _socket.Poll(WritePatience, SelectMode.SelectWrite), cancellationToken).ConfigureAwait(false);
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
            // The socket is already closed.
        }
    }

    private static bool IsClosed(SocketException exception) => exception.SocketErrorCode is
        SocketError.ConnectionReset or SocketError.ConnectionAborted or SocketError.Shutdown or SocketError.NotConnected;
}
