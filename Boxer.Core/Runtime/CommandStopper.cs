using Boxer.Runtime.Init;

namespace Boxer.Runtime;

/// <summary>Ends one command before its time: asks it to end, has PID 1 kill it, or destroys its sandbox.</summary>
internal sealed class CommandStopper : IDisposable
{
    /// <summary>Time of PID 1 to reap and to report after a kill. A sandbox that takes longer is destroyed.</summary>
    internal static readonly TimeSpan KillGrace = TimeSpan.FromSeconds(2);

    // A command that prints without end is ended soon, even if its files are lost with the sandbox.
    private static readonly TimeSpan FloodGrace = TimeSpan.FromSeconds(0.5);
    private readonly SandboxResources _sandbox;
    private readonly CommandPlan _plan;
    private readonly StartGate _gate;
    private readonly TimeProvider _time;
    private readonly CancellationTokenSource _destroyed = new();
    private readonly CancellationTokenSource _cancelled = new();

    // Whether a command that must end is asked first. A cancellation before its start, or after it is over, destroys the sandbox at once.
    private volatile bool _hasGrace;

    /// <param name="sandbox">The sandbox.</param>
    /// <param name="plan">The command.</param>
    /// <param name="gate">Knows whether the command has started.</param>
    /// <param name="time">The clock.</param>
    internal CommandStopper(SandboxResources sandbox, CommandPlan plan, StartGate gate, TimeProvider time)
    {
        _sandbox = sandbox;
        _plan = plan;
        _gate = gate;
        _time = time;
        _hasGrace = plan.StopGrace > TimeSpan.Zero;
    }

    /// <summary>Cancelled when the sandbox is destroyed.</summary>
    internal CancellationToken Destroyed => _destroyed.Token;

    /// <summary>Cancelled when the command must end, and has its grace first.</summary>
    internal CancellationToken Cancelled => _cancelled.Token;

    /// <summary>Cancels the command: gives it its grace if it runs, and destroys the sandbox otherwise.</summary>
    internal void Cancel()
    {
        if (_hasGrace && _gate.HasStarted)
        {
            _cancelled.Cancel();
        }
        else
        {
            Destroy();
        }
    }

    /// <summary>Destroys the sandbox.</summary>
    internal void Destroy()
    {
        _sandbox.Kill();
        _destroyed.Cancel();
    }

    /// <summary>Waits for the last report about a command, and stops it if there is a reason.</summary>
    /// <param name="command">The command; returns the last report of PID 1.</param>
    /// <param name="reason">The limit that the command reached; <see langword="null"/> if it has ended by itself.</param>
    /// <param name="limits">The limits during its grace.</param>
    /// <returns>The last report of PID 1; <see cref="InitClosed"/> if the sandbox was destroyed.</returns>
    internal async Task<InitEvent> EndAsync(Task<InitEvent> command, TerminationKind? reason, CommandLimits limits)
    {
        bool isAsked = reason == TerminationKind.WallClockLimit && _hasGrace && _gate.HasStarted;
        if (isAsked)
        {
            await AskAsync(command, limits).ConfigureAwait(false);
        }

        _hasGrace = false;
        return reason is not { } reached || (isAsked && command.IsCompleted)
            ? await command.ConfigureAwait(false)
            : await StopAsync(command, reached).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _cancelled.Dispose();
        _destroyed.Dispose();
    }

    /// <summary>Sends the stop signal, and waits until the command is over, its grace is over, or it reaches a limit.</summary>
    private async Task AskAsync(Task<InitEvent> command, CommandLimits limits)
    {
        try
        {
            await _sandbox.Init!.SignalAsync(_plan.StopSignal, _destroyed.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            return;
        }

        using var grace = new CancellationTokenSource(_plan.StopGrace, _time);
        await limits.WaitAsync(command, grace.Token).ConfigureAwait(false);
    }

    /// <summary>Has PID 1 kill the command and report; destroys the sandbox if that cannot work or takes too long.</summary>
    private async Task<InitEvent> StopAsync(Task<InitEvent> command, TerminationKind reason)
    {
        // A sandbox in which the kernel killed a process, or refused a thread, has lost some part; its PID 1 may be stuck.
        if (reason is not (TerminationKind.MemoryLimit or TerminationKind.PidsLimit or TerminationKind.SandboxDied))
        {
            RaiseCpu();
            using var grace = new CancellationTokenSource(reason == TerminationKind.OutputLimit ? FloodGrace : KillGrace, _time);
            try
            {
                await _sandbox.Init!.KillAsync(grace.Token).ConfigureAwait(false);
                return await command.WaitAsync(grace.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                // The sandbox is destroyed below.
            }
        }

        _sandbox.Kill();
        await _destroyed.CancelAsync().ConfigureAwait(false);
        try
        {
            return await command.WaitAsync(KillGrace, _time).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            // The content of a file ignores its cancellation token. Nobody needs the result of that read any more.
            _ = command.ContinueWith(static late => _ = late.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
            return new InitClosed();
        }
    }

    // PID 1 then gets its turn among the processes of the command.
    private void RaiseCpu()
    {
        try
        {
            if (_plan.Cgroup.CpuCores < 1)
            {
                _sandbox.Cgroup?.SetCpu(1);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // A cgroup above may have less.
        }
    }
}
