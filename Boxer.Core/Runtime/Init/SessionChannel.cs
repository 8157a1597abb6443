using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Threading.Channels;

namespace Boxer.Runtime.Init;

/// <summary>
/// The channel of an open session: owns the only reader of an <see cref="InitChannel"/>, checks what PID 1 sends, and gives it to whoever waits for it. It
/// never waits for a consumer. When the channel ends, or PID 1 lies, everything in flight ends. Any thread may send.
/// </summary>
internal sealed class SessionChannel : IAsyncDisposable
{
    // A PID 1 that does not read while the host's callers come and go is broken.
    private const int MaxWaitingFrames = 10_000;
    private readonly InitChannel _init;
    private readonly Lock _gate = new();
    private readonly SessionConversation _conversation = new();
    private readonly Dictionary<int, SessionItem> _items = [];
    private readonly Dictionary<uint, TaskCompletionSource<SessionProcessUsage?>> _processUsages = [];
    private readonly Channel<SessionFrame> _frames = Channel.CreateUnbounded<SessionFrame>();
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource<string> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Task _sending;
    private readonly Task _reading;
    private TaskCompletionSource<SessionUsageReport?>? _usage;
    private TaskCompletionSource<SessionUsageReport?>? _nextUsage;
    private int _lastId;
    private uint _lastTag;
    private bool _isOver;

    /// <summary>Initializes the channel; it begins to read.</summary>
    /// <param name="init">The channel, whose last event was <see cref="InitOpened"/>. It is not disposed.</param>
    internal SessionChannel(InitChannel init)
    {
        _init = init;
        _sending = Task.Run(SendAllAsync);
        _reading = Task.Run(ReadAllAsync);
    }

    /// <summary>Completes with the reason when the channel has ended and everything in flight was told. Never fails.</summary>
    internal Task<string> Ended => _ended.Task;

    /// <summary>Starts a command, and gives credit for its relayed streams.</summary>
    /// <param name="exec">The command.</param>
    /// <param name="descriptors">Its descriptors, if it has no relayed streams; they are closed when they were sent.</param>
    /// <exception cref="ArgumentException">A value of the command exceeds a limit.</exception>
    internal SessionProcess Start(SessionExec exec, params IReadOnlyList<SafeHandle> descriptors)
    {
        int id = NextId();
        byte[] bytes = SessionEncoder.EncodeExec(id, exec);
        var process = new SessionProcess(this, id, exec.Streams);
        Begin(process, bytes, conversation => conversation.AskCommand(id, exec.Streams, exec.MergeOutput), descriptors);
        process.Output?.GiveCredit(SessionStream.Output);
        if (exec is { Streams: SessionStreams.Relayed, MergeOutput: false })
        {
            process.Output?.GiveCredit(SessionStream.Error);
        }

        return process;
    }

    /// <summary>Starts a file worker.</summary>
    /// <param name="user">Its identity.</param>
    /// <param name="socket">Its end of a socketpair, closed when it was sent.</param>
    internal SessionProcess StartFiles(InitIdentity user, SafeHandle socket)
    {
        int id = NextId();
        var process = new SessionProcess(this, id, SessionStreams.Descriptors);
        Begin(process, SessionEncoder.EncodeFiles(id, user), conversation => conversation.AskFiles(id), [socket]);
        return process;
    }

    /// <summary>Connects to a port of the sandbox, and gives credit for its bytes.</summary>
    /// <param name="family">4 for 127.0.0.1, 6 for ::1.</param>
    /// <param name="port">Port, 1 to 65535.</param>
    internal SessionConnection Connect(int family, int port)
    {
        int id = NextId();
        var connection = new SessionConnection(this, id);
        Begin(connection, SessionEncoder.EncodeConnect(id, family, port), conversation => conversation.AskConnection(id), []);
        connection.Output.GiveCredit(SessionStream.Output);
        return connection;
    }

    /// <summary>Asks for the use of the sandbox. The report is newer than the call; calls at the same time share one request.</summary>
    /// <returns>The report; <see langword="null"/> if the channel ended.</returns>
    internal Task<SessionUsageReport?> ReadUsageAsync()
    {
        lock (_gate)
        {
            if (_isOver)
            {
                return Task.FromResult<SessionUsageReport?>(null);
            }

            if (_usage is not null)
            {
                return (_nextUsage ??= new(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
            }

            _usage = new(TaskCreationOptions.RunContinuationsAsynchronously);
            PostUsage();
            return _usage.Task;
        }
    }

    /// <summary>Asks for the use of a command.</summary>
    /// <param name="id">The command, which was begun.</param>
    /// <returns>The report; <see langword="null"/> if the channel ended.</returns>
    internal Task<SessionProcessUsage?> ReadProcessUsageAsync(int id)
    {
        var report = new TaskCompletionSource<SessionProcessUsage?>(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_gate)
        {
            if (_isOver)
            {
                return Task.FromResult<SessionProcessUsage?>(null);
            }

            uint tag = ++_lastTag;
            _processUsages.Add(tag, report);
            Post(new SessionFrame(conversation =>
            {
                conversation.AskProcessUsage(tag, id);
                return SessionEncoder.EncodeProcessUsage(tag, id);
            }));
        }

        return report.Task;
    }

    /// <summary>Queues a frame. After the end of the channel it is withdrawn.</summary>
    internal void Post(SessionFrame frame)
    {
        if (!_frames.Writer.TryWrite(frame))
        {
            frame.TryWithdraw();
        }
        else if (_frames.Reader.Count > MaxWaitingFrames)
        {
            End("PID 1 does not read.");
        }
    }

    /// <summary>Ends the channel, and everything in flight.</summary>
    /// <param name="reason">The reason, for the log.</param>
    internal void End(string reason)
    {
        SessionItem[] items;
        TaskCompletionSource<SessionProcessUsage?>[] reports;
        lock (_gate)
        {
            if (_isOver)
            {
                return;
            }

            _isOver = true;
            items = [.. _items.Values];
            reports = [.. _processUsages.Values];
            _items.Clear();
            _processUsages.Clear();
        }

        _frames.Writer.TryComplete();
        _ = _stop.CancelAsync();
        Array.ForEach(items, item => item.End());
        Array.ForEach(reports, report => report.TrySetResult(null));
        _usage?.TrySetResult(null);
        _nextUsage?.TrySetResult(null);
        _ended.TrySetResult(reason);
    }

    /// <summary>Ends the channel and waits until it uses the socket no more.</summary>
    public async ValueTask DisposeAsync()
    {
        End("The host closed it.");
        await Task.WhenAll(_sending, _reading).ConfigureAwait(false);
        _stop.Dispose();
    }

    private int NextId()
    {
        int id = Interlocked.Increment(ref _lastId);
        return id > 0 ? id : throw new InvalidOperationException("The session has used all its numbers.");
    }

    private void Begin(SessionItem item, byte[] bytes, Action<SessionConversation> ask, IReadOnlyList<SafeHandle> descriptors)
    {
        item.Frame = new SessionFrame(
            conversation =>
            {
                ask(conversation);
                _items.Add(item.Id, item);
                return bytes;
            },
            item.End,
            descriptors);
        Post(item.Frame);
    }

    // Called with the gate held.
    private void PostUsage()
    {
        uint tag = ++_lastTag;
        Post(new SessionFrame(conversation =>
        {
            conversation.AskUsage(tag);
            return SessionEncoder.EncodeTag(InitFrameType.Usage, tag);
        }));
    }

    private async Task SendAllAsync()
    {
        try
        {
            while (await _frames.Reader.WaitToReadAsync(_stop.Token).ConfigureAwait(false))
            {
                while (_frames.Reader.TryRead(out SessionFrame? frame))
                {
                    await SendAsync(frame).ConfigureAwait(false);
                }
            }
        }
        catch (Exception exception) when (exception is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            End("PID 1 cannot be reached.");
        }
        catch (Exception exception)
        {
            // Nothing would be sent any more: everything in flight would wait without an end.
            End($"A frame could not be made: {exception.Message}");
        }

        // The frame that was being sent is the last one that PID 1 may have read.
        while (_frames.Reader.TryRead(out SessionFrame? frame))
        {
            frame.TryWithdraw();
        }
    }

    private async Task SendAsync(SessionFrame frame)
    {
        byte[]? bytes;
        lock (_gate)
        {
            bytes = _isOver ? null : frame.Begin(_conversation);
        }

        try
        {
            if (bytes is not null)
            {
                await _init.SendSessionFrameAsync(bytes, frame.Descriptors, _stop.Token).ConfigureAwait(false);
            }
            else
            {
                frame.TryWithdraw();
            }
        }
        finally
        {
            frame.Finish(isSent: bytes is not null);
        }
    }

    private async Task ReadAllAsync()
    {
        string reason;
        try
        {
            reason = await DispatchAllAsync().ConfigureAwait(false);
        }
        catch (InitProtocolException exception)
        {
            reason = exception.Message;
        }
        catch (Exception exception) when (exception is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            reason = "The channel was closed.";
        }

        End(reason);
    }

    private async Task<string> DispatchAllAsync()
    {
        while (true)
        {
            switch (await _init.ReadEventAsync(_stop.Token).ConfigureAwait(false))
            {
                case InitClosed:
                    return "The sandbox ended.";
                case InitFault fault:
                    return $"PID 1 reports a fault: {fault.Stage} (errno {fault.Errno}).";
                case SessionEvent sessionEvent:
                    Dispatch(sessionEvent);
                    break;
                case var other:
                    throw new InitProtocolException($"PID 1 sent {other.GetType().Name} in a session.");
            }
        }
    }

    private void Dispatch(SessionEvent sessionEvent)
    {
        SessionItem? item = null;
        lock (_gate)
        {
            if (_isOver)
            {
                return;
            }

            _conversation.Accept(sessionEvent);
            switch (sessionEvent)
            {
                case SessionUsageReport report:
                    _usage?.TrySetResult(report);
                    (_usage, _nextUsage) = (_nextUsage, null);
                    if (_usage is not null)
                    {
                        PostUsage();
                    }

                    break;
                case SessionProcessUsage report when _processUsages.Remove(report.Tag, out TaskCompletionSource<SessionProcessUsage?>? waiter):
                    waiter.TrySetResult(report);
                    break;
                case SessionItemEvent of when _items.TryGetValue(of.Id, out item) && !_conversation.IsOpen(of.Id):
                    _items.Remove(of.Id);
                    break;
            }
        }

        if (sessionEvent is SessionItemEvent itemEvent)
        {
            item?.Accept(itemEvent);
        }
    }
}
