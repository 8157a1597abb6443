using System.Runtime.CompilerServices;
using Boxer.Runtime.Kept;
using Boxer.Validation;

namespace Boxer.Sessions;

/// <summary>One process of <see cref="ISandboxSession.StartAsync"/>.</summary>
internal sealed class SessionProcess : ISandboxProcess
{
    private const int MaxSignal = 64;

    // A command can have megabytes, and ended processes are kept.
    private const int MaxCommandText = 16 << 10;
    private static readonly TimeSpan KillPatience = TimeSpan.FromSeconds(2);
    private readonly SessionParts _parts;
    private readonly SessionCalls _calls;
    private readonly IGuestProcess _guest;
    private readonly ProcessHistory _history;
    private readonly TaskCompletionSource<SandboxProcessEnd> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <param name="parts">The session.</param>
    /// <param name="calls">Runs operations on the sandbox.</param>
    /// <param name="guest">The process in the sandbox.</param>
    /// <param name="plan">The command.</param>
    internal SessionProcess(SessionParts parts, SessionCalls calls, IGuestProcess guest, ExecPlan plan)
    {
        _parts = parts;
        _calls = calls;
        _guest = guest;
        _history = new ProcessHistory((int)parts.Options.ProcessHistoryBytes);
        Command = Shorten(plan.Arguments);
        IsTerminal = plan.Terminal is not null;
        StartedAt = parts.Time.GetUtcNow();
        Input = new ProcessInput(parts.Life, guest.Input, () => End is not null);
    }

    /// <inheritdoc/>
    public int Id => _guest.Id;

    /// <inheritdoc/>
    public IReadOnlyList<string> Command { get; }

    /// <inheritdoc/>
    public bool IsTerminal { get; }

    /// <inheritdoc/>
    public DateTimeOffset StartedAt { get; }

    /// <inheritdoc/>
    public SandboxProcessEnd? End => _ended.Task.IsCompletedSuccessfully ? _ended.Task.Result : null;

    /// <inheritdoc/>
    public Stream Input { get; }

    /// <summary>The time of the end; meaningless before it.</summary>
    internal DateTimeOffset EndedAt { get; private set; }

    /// <summary>The last output.</summary>
    internal ProcessHistory History => _history;

    /// <summary>Reads the output of the process to its end, so that it never waits for a reader. Never fails.</summary>
    /// <returns>The end of the process.</returns>
    internal async Task<ExecEnd> PumpAsync()
    {
        Task<ExecEnd> ending = ReadAsync();
        return await EndsInTimeAsync(ending).ConfigureAwait(false) ? await ending.ConfigureAwait(false) : Died();
    }

    /// <summary>Shows the end of the process to its callers.</summary>
    /// <param name="end">The end.</param>
    internal void Complete(ExecEnd end)
    {
        EndedAt = _parts.Time.GetUtcNow();
        _ended.TrySetResult(new SandboxProcessEnd(end.Termination) { LeftBehind = end.LeftBehind, Usage = end.Usage });
        _history.End();
    }

    /// <inheritdoc/>
    public IAsyncEnumerable<SandboxProcessEvent> EventsAsync(long fromOffset = 0, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(fromOffset);
        return ReadEventsAsync(fromOffset, cancellationToken);
    }

    /// <inheritdoc/>
    public async Task SignalAsync(int signal, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(signal, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(signal, MaxSignal);
        await ControlAsync(token => _guest.SignalAsync(signal, wholeSession: false, token), cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async Task ResizeAsync(SandboxTerminal size, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(size);
        if (!IsTerminal)
        {
            throw new InvalidOperationException("The process has no terminal.");
        }

        CommandValidator.ValidateTerminal(size);
        await ControlAsync(token => _guest.ResizeAsync(size, token), cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async Task<SandboxProcessEnd> WaitAsync(CancellationToken cancellationToken = default)
    {
        using IDisposable? use = BeginUse();
        return await _ended.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Kills the process and every process of its POSIX session. In a paused session they die when it goes on.</summary>
    public async ValueTask DisposeAsync()
    {
        using var patience = new CancellationTokenSource(KillPatience, _parts.Time);
        try
        {
            await _guest.KillAsync(patience.Token).ConfigureAwait(false);
            if (_parts.Life.State != SandboxSessionState.Paused)
            {
                await _ended.Task.WaitAsync(patience.Token).ConfigureAwait(false);
            }
        }
        catch (Exception exception) when (exception is IOException or OperationCanceledException or ObjectDisposedException)
        {
            // The sandbox is gone, or hangs. Its end is the process's.
        }
    }

    // A caller that waits for the process keeps the session from its idle timeout. What a process that has ended printed is known without the session.
    private IDisposable? BeginUse() => End is null ? _parts.Life.TryBeginStream() : null;

    /// <returns>Whether it ended by itself, or soon after its session. A sandbox that hangs is not waited for.</returns>
    private async Task<bool> EndsInTimeAsync(Task ending)
    {
        if (await Task.WhenAny(ending, _parts.Abandoned.Task).ConfigureAwait(false) == ending)
        {
            return true;
        }

        using var decided = new CancellationTokenSource();
        bool inTime = await Task.WhenAny(ending, Task.Delay(SessionEnds.Patience, _parts.Time, decided.Token)).ConfigureAwait(false) == ending;
        await decided.CancelAsync().ConfigureAwait(false);
        return inTime;
    }

    private async Task<ExecEnd> ReadAsync()
    {
        try
        {
            await foreach (GuestOutput output in _guest.ReadAllAsync(CancellationToken.None).ConfigureAwait(false))
            {
                _history.Append(output.Stream, output.Data.Span);
            }

            return await _guest.Ended.ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException)
        {
            return Died();
        }
    }

    private static List<string> Shorten(IReadOnlyList<string> arguments)
    {
        int left = MaxCommandText;
        List<string> kept = [];
        foreach (string argument in arguments)
        {
            if (left < argument.Length + 1)
            {
                kept.Add(string.Concat(argument.AsSpan(0, Math.Max(0, left - 1)), "..."));
                break;
            }

            kept.Add(argument);
            left -= argument.Length + 1;
        }

        return kept;
    }

    private ExecEnd Died() => new(
        _parts.Life.End == SandboxSessionEnd.MemoryLimit ? Termination.Limit(TerminationKind.MemoryLimit) : Termination.SandboxDied("killed: its session ended"),
        new SandboxUsage(),
        LeftBehind: 0);

    private async Task ControlAsync(Func<CancellationToken, Task> operation, CancellationToken cancellationToken)
    {
        if (End is not null || _parts.Life.End is not null)
        {
            return;
        }

        try
        {
            await _calls.RunAsync(
                async token =>
                {
                    await operation(token).ConfigureAwait(false);
                    return true;
                },
                cancellationToken).ConfigureAwait(false);
        }
        catch (SandboxSessionEndedException)
        {
            // The process ended with its session.
        }
    }

    private async IAsyncEnumerable<SandboxProcessEvent> ReadEventsAsync(long fromOffset, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using IDisposable? stream = BeginUse();
        await foreach (HistoryPiece piece in _history.ReadAsync(fromOffset, cancellationToken).ConfigureAwait(false))
        {
            yield return new SandboxProcessOutput(piece.Offset, piece.Stream, piece.Data);
        }

        yield return new SandboxProcessEnded(await _ended.Task.WaitAsync(cancellationToken).ConfigureAwait(false));
    }
}
