using Boxer.Native;
using Boxer.Runtime.Init;

namespace Boxer.Runtime.Kept;

/// <summary>
/// Follows one command of a kept sandbox to its end: starts its wall clock, counts its processor time, and stops it for a reason. It stops the processes of
/// the command's session; only a sandbox that does not obey is killed.
/// </summary>
internal sealed class CommandWatch : IDisposable
{
    /// <summary>Time of PID 1 to start a command, and to report the end of a killed one. A sandbox that takes longer is killed.</summary>
    internal static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    // A poll costs PID 1 a walk over /proc.
    private static readonly TimeSpan ShortestPause = TimeSpan.FromMilliseconds(100);
    private readonly ExecPlan _plan;
    private readonly SessionProcess _process;
    private readonly KeptSandbox _sandbox;
    private readonly CancellationToken _cancellationToken;
    private readonly TimeProvider _time;
    private readonly CommandClock.Limit _clock;
    private readonly CancellationTokenSource _followed = new();
    private readonly TaskCompletionSource _cpuExceeded = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // Set if it did not start in time. PID 1 reports the start of a child that was killed before it executed the command, too.
    private volatile bool _isLate;

    /// <param name="sandbox">The sandbox.</param>
    /// <param name="plan">The command.</param>
    /// <param name="process">The command in the channel.</param>
    /// <param name="time">The clock.</param>
    /// <param name="cancellationToken">Stops the command.</param>
    internal CommandWatch(KeptSandbox sandbox, ExecPlan plan, SessionProcess process, TimeProvider time, CancellationToken cancellationToken)
    {
        _sandbox = sandbox;
        _plan = plan;
        _process = process;
        _time = time;
        _cancellationToken = cancellationToken;
        _clock = sandbox.Clock.Start(Patience);
        Reasons.Add(TerminationKind.WallClockLimit, _clock.Token);
        Reasons.Add(TerminationKind.WallClockLimit, cancellationToken);
        Reasons.Add(TerminationKind.DiskLimit, plan.DiskFull);
        if (plan.CpuTime is { } limit)
        {
            Reasons.Add(_cpuExceeded.Task, TerminationKind.CpuTimeLimit);
            _ = CountCpuAsync(limit, _followed.Token);
        }
    }

    /// <summary>Further reasons to stop the command.</summary>
    internal StopReasons Reasons { get; } = new();

    private bool HasStarted => _process.Started is { IsCompletedSuccessfully: true, Result: SessionProcessStarted };

    /// <summary>Waits for the end of the command, and stops it if there is a reason.</summary>
    /// <param name="onStarted">Called when the command has started.</param>
    /// <returns>The limit for which it was stopped, <see cref="TerminationKind.WallClockLimit"/> for a cancellation; its last report.</returns>
    internal async Task<(TerminationKind? Stopped, SessionItemEvent? End)> FollowAsync(Action onStarted)
    {
        Task<bool> starting = ReportStartAsync(onStarted);
        TerminationKind? stopped = await Reasons.WaitAsync(_process.Ended).ConfigureAwait(false);
        if (stopped == TerminationKind.WallClockLimit && _plan.StopGrace > TimeSpan.Zero && HasStarted)
        {
            stopped = await AskAsync().ConfigureAwait(false) ?? stopped;
        }

        _isLate = stopped == TerminationKind.WallClockLimit && !HasStarted && !_cancellationToken.IsCancellationRequested;
        if (stopped is not null && !_process.Ended.IsCompleted)
        {
            await StopAsync(stopped.Value).ConfigureAwait(false);
        }

        SessionItemEvent? end = await _process.Ended.ConfigureAwait(false);
        bool isReported = await starting.ConfigureAwait(false);
        if (!_isLate)
        {
            return (stopped ?? FindCpuLimit(end), end);
        }

        // It can start at the last moment, and end by itself before PID 1 reads the kill.
        bool isKilled = end is not SessionProcessEnded { Signal: not Signal.SIGKILL };
        if (isKilled && !isReported)
        {
            return (end is null ? TerminationKind.SandboxDied : TerminationKind.NotStarted, end);
        }

        if (!isReported)
        {
            onStarted();
        }

        return (isKilled ? stopped : FindCpuLimit(end), end);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Reasons.Dispose();
        _followed.Cancel();
        _followed.Dispose();
        _clock.Dispose();
    }

    /// <returns>Whether it reported the start.</returns>
    private async Task<bool> ReportStartAsync(Action onStarted)
    {
        if (await _process.Started.ConfigureAwait(false) is not SessionProcessStarted || _isLate)
        {
            return false;
        }

        _clock.Restart(_plan.WallClock);
        onStarted();
        return true;
    }

    /// <summary>Sends the stop signal and waits for the grace.</summary>
    /// <returns>Another limit that the command reached meanwhile.</returns>
    private async Task<TerminationKind?> AskAsync()
    {
        using CommandClock.Limit grace = _sandbox.Clock.Start(_plan.StopGrace);
        using var reasons = new StopReasons();
        try
        {
            await _process.SignalAsync(_plan.StopSignal, wholeSession: false, grace.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            return null;
        }

        reasons.Add(TerminationKind.WallClockLimit, grace.Token);
        Task other = Reasons.WaitAsync(_process.Ended, except: TerminationKind.WallClockLimit);
        await reasons.WaitAsync(other).ConfigureAwait(false);
        return other is Task<TerminationKind?> { IsCompletedSuccessfully: true, Result: { } reached } ? reached : null;
    }

    /// <summary>Kills the processes of the command's session, or the sandbox if that does not help.</summary>
    private async Task StopAsync(TerminationKind reason)
    {
        if (reason == TerminationKind.PidsLimit)
        {
            // gVisor's kernel seldom survives that.
            _sandbox.Kill();
            return;
        }

        if (_process.Frame.TryWithdraw())
        {
            if (reason == TerminationKind.WallClockLimit && !_cancellationToken.IsCancellationRequested)
            {
                // PID 1 has read nothing for the whole patience.
                _sandbox.Kill();
            }

            return;
        }

        using CommandClock.Limit patience = _sandbox.Clock.Start(Patience);
        try
        {
            await _process.SignalAsync(Signal.SIGKILL, wholeSession: true, patience.Token).ConfigureAwait(false);
            await _process.Ended.WaitAsync(patience.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            _sandbox.Kill();
        }
    }

    private async Task CountCpuAsync(TimeSpan limit, CancellationToken followed)
    {
        TimeSpan left = limit;
        while (true)
        {
            TimeSpan safe = UsageMonitor.SafePause(left, _sandbox.Plan.Cgroup.CpuCores, Environment.ProcessorCount);
            await Task.Delay(safe > ShortestPause ? safe : ShortestPause, _time, followed).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (followed.IsCancellationRequested)
            {
                return;
            }

            if (!HasStarted)
            {
                continue;
            }

            SessionProcessUsage? usage = await _sandbox.ReadUsageAsync(_process).ConfigureAwait(false);
            if (usage is null)
            {
                return;
            }

            if (usage.Cpu >= limit)
            {
                _cpuExceeded.TrySetResult();
                return;
            }

            left = limit - usage.Cpu;
        }
    }

    // Reached between two polls.
    private TerminationKind? FindCpuLimit(SessionItemEvent? end) =>
        end is SessionProcessEnded ended && ended.UserCpu + ended.SystemCpu >= _plan.CpuTime ? TerminationKind.CpuTimeLimit : null;
}
