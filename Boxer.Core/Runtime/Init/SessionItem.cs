using Boxer.Native;

namespace Boxer.Runtime.Init;

/// <summary>A command, file worker or connection of a session: everything that has a number.</summary>
/// <param name="channel">The channel.</param>
/// <param name="id">The number.</param>
internal abstract class SessionItem(SessionChannel channel, int id)
{
    /// <summary>The number.</summary>
    internal int Id { get; } = id;

    /// <summary>The frame that begins it.</summary>
    internal SessionFrame Frame { get; set; } = null!;

    private protected SessionChannel Channel { get; } = channel;

    /// <summary>Accepts an event of PID 1, which was checked. It does not wait.</summary>
    internal abstract void Accept(SessionItemEvent itemEvent);

    /// <summary>The channel has ended, or the first frame was withdrawn. Also after the last event.</summary>
    internal abstract void End();

    /// <summary>Sends a frame about this item, if it is not over.</summary>
    /// <param name="bytes">The frame.</param>
    /// <param name="cancellationToken">Withdraws the frame if its turn has not come.</param>
    private protected async Task SendAsync(byte[] bytes, CancellationToken cancellationToken)
    {
        var frame = new SessionFrame(conversation => conversation.IsOpen(Id) ? bytes : null);
        Channel.Post(frame);
        try
        {
            await frame.Sent.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            frame.TryWithdraw();
            throw;
        }
    }
}

/// <summary>A command or file worker of a session.</summary>
internal sealed class SessionProcess : SessionItem
{
    private readonly TaskCompletionSource<SessionItemEvent?> _started = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource<SessionItemEvent?> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    internal SessionProcess(SessionChannel channel, int id, SessionStreams streams)
        : base(channel, id)
    {
        if (streams != SessionStreams.Descriptors)
        {
            Output = new SessionOutputQueue(channel, id);
            Input = new SessionInput(channel, id);
        }
    }

    /// <summary>Output of its relayed streams; <see langword="null"/> if it has none.</summary>
    internal SessionOutputQueue? Output { get; }

    /// <summary>Input of its relayed streams; <see langword="null"/> if it has none.</summary>
    internal SessionInput? Input { get; }

    /// <summary>
    /// Completes with <see cref="SessionProcessStarted"/>, <see cref="SessionProcessNotStarted"/>, or <see langword="null"/> if the channel ended before.
    /// </summary>
    internal Task<SessionItemEvent?> Started => _started.Task;

    /// <summary>
    /// Completes with <see cref="SessionProcessEnded"/>, <see cref="SessionProcessNotStarted"/>, or <see langword="null"/> if the channel ended before.
    /// </summary>
    internal Task<SessionItemEvent?> Ended => _ended.Task;

    /// <summary>Sends a signal; see <see cref="SessionEncoder.EncodeSignal"/>.</summary>
    internal Task SignalAsync(int signal, bool wholeSession, CancellationToken cancellationToken) =>
        SendAsync(SessionEncoder.EncodeSignal(Id, signal, wholeSession), cancellationToken);

    /// <summary>Kills every process of its session, also stopped ones. It does not wait.</summary>
    internal void Kill()
    {
        byte[] bytes = SessionEncoder.EncodeSignal(Id, Signal.SIGKILL, wholeSession: true);
        Channel.Post(new SessionFrame(conversation => conversation.IsOpen(Id) ? bytes : null));
    }

    /// <summary>Changes the size of the terminal.</summary>
    internal Task ResizeAsync(int columns, int rows, CancellationToken cancellationToken) =>
        SendAsync(SessionEncoder.EncodeResize(Id, columns, rows), cancellationToken);

    /// <summary>Asks for its use.</summary>
    /// <returns>The report; <see langword="null"/> if the command or the channel ended.</returns>
    internal async Task<SessionProcessUsage?> ReadUsageAsync()
    {
        Task<SessionProcessUsage?> report = Channel.ReadProcessUsageAsync(Id);
        return await Task.WhenAny(report, Ended).ConfigureAwait(false) == report ? await report.ConfigureAwait(false) : null;
    }

    internal override void Accept(SessionItemEvent itemEvent)
    {
        switch (itemEvent)
        {
            case SessionProcessStarted:
                _started.TrySetResult(itemEvent);
                break;
            case SessionProcessNotStarted or SessionProcessEnded:
                _started.TrySetResult(itemEvent);
                _ended.TrySetResult(itemEvent);
                End();
                break;
            case SessionOutput output:
                Output!.Add(output.Stream, output.Data.Span);
                break;
            case SessionInputTaken taken:
                Input!.Taken(taken.Bytes);
                break;
        }
    }

    internal override void End()
    {
        _started.TrySetResult(null);
        _ended.TrySetResult(null);
        Output?.Complete();
        Input?.End();
    }
}

/// <summary>A connection to a port of the sandbox.</summary>
internal sealed class SessionConnection : SessionItem
{
    private readonly TaskCompletionSource<SessionItemEvent?> _connected = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource<SessionClosed?> _closed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    internal SessionConnection(SessionChannel channel, int id)
        : base(channel, id)
    {
        Output = new SessionOutputQueue(channel, id);
        Input = new SessionInput(channel, id);
    }

    /// <summary>Bytes from the sandbox.</summary>
    internal SessionOutputQueue Output { get; }

    /// <summary>Bytes to the sandbox.</summary>
    internal SessionInput Input { get; }

    /// <summary>
    /// Completes with <see cref="SessionConnected"/>, <see cref="SessionNotConnected"/>, or <see langword="null"/> if the channel ended, or the connection was
    /// released, before.
    /// </summary>
    internal Task<SessionItemEvent?> Connected => _connected.Task;

    /// <summary>Completes when the connection is over; with <see langword="null"/> if the channel ended before.</summary>
    internal Task<SessionClosed?> Closed => _closed.Task;

    /// <summary>Closes the connection.</summary>
    internal void Release()
    {
        if (!Frame.TryWithdraw())
        {
            Channel.Post(new SessionFrame(conversation => conversation.Release(Id) ? SessionEncoder.EncodeId(InitFrameType.Release, Id) : null));
        }
    }

    internal override void Accept(SessionItemEvent itemEvent)
    {
        switch (itemEvent)
        {
            case SessionConnected:
                _connected.TrySetResult(itemEvent);
                break;
            case SessionNotConnected:
                _connected.TrySetResult(itemEvent);
                End();
                break;
            case SessionClosed closed:
                _closed.TrySetResult(closed);
                End();
                break;
            case SessionOutput output:
                Output.Add(output.Stream, output.Data.Span);
                break;
            case SessionOutputEnd:
                Output.Complete();
                break;
            case SessionInputTaken taken:
                Input.Taken(taken.Bytes);
                break;
        }
    }

    internal override void End()
    {
        _connected.TrySetResult(null);
        _closed.TrySetResult(null);
        Output.Complete();
        Input.End();
    }
}
