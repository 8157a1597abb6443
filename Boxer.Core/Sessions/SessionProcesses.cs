using Boxer.Common;
using Boxer.Runtime.Kept;
using Boxer.Validation;

namespace Boxer.Sessions;

/// <summary>The started processes of one session: living ones, and those that ended lately. Thread-safe.</summary>
internal sealed class SessionProcesses
{
    /// <summary>Maximum number of ended processes that are kept.</summary>
    internal const int MaxEnded = 100;

    /// <summary>Time for which ended processes are kept.</summary>
    internal static readonly TimeSpan Memory = TimeSpan.FromMinutes(10);
    private readonly SessionParts _parts;
    private readonly SessionCalls _calls;
    private readonly BackgroundTasks _background;
    private readonly Lock _lock = new();
    private readonly List<SessionProcess> _processes = [];

    // Runs while ended processes are kept and the session is open.
    private readonly ITimer _forgetting;
    private int _living;

    /// <param name="parts">The session.</param>
    /// <param name="calls">Runs operations on the sandbox.</param>
    /// <param name="background">Tracks the reading of their output.</param>
    internal SessionProcesses(SessionParts parts, SessionCalls calls, BackgroundTasks background)
    {
        _parts = parts;
        _calls = calls;
        _background = background;
        _forgetting = parts.Time.CreateTimer(_ => List(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        _ = EndTimerAsync();
    }

    /// <summary>Living processes, and ended ones that are kept.</summary>
    internal IReadOnlyList<ISandboxProcess> List()
    {
        lock (_lock)
        {
            Forget();
            return [.. _processes];
        }
    }

    /// <summary>Starts a process.</summary>
    /// <param name="command">The command.</param>
    /// <param name="cancellationToken">Cancels the start.</param>
    /// <exception cref="SandboxCapacityException">Too many processes live.</exception>
    internal Task<ISandboxProcess> StartAsync(CheckedCommand command, CancellationToken cancellationToken) =>
        _calls.RunAsync(token => StartWithinCallAsync(command, token), cancellationToken);

    private async Task<ISandboxProcess> StartWithinCallAsync(CheckedCommand command, CancellationToken cancellationToken)
    {
        ExecPlan plan = SessionPlanner.BuildCommand(_parts.Guest, command) with { DiskFull = _parts.Disk.Full };
        Enter();
        IGuestProcess guest;
        try
        {
            guest = await _parts.Sandbox.StartAsync(plan, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            Leave();
            throw;
        }

        var process = new SessionProcess(_parts, _calls, guest, plan);
        _parts.Life.BeginProcess();
        lock (_lock)
        {
            _processes.Add(process);
        }

        Task pump = _background.RunAsync(() => PumpAsync(process));
        if (guest.Ended.IsCompleted)
        {
            // It was not started: the caller sees so at once.
            await pump.ConfigureAwait(false);
        }

        return process;
    }

    private async Task PumpAsync(SessionProcess process)
    {
        ExecEnd end = await process.PumpAsync().ConfigureAwait(false);

        // Before its callers see the end: they may start another one at once.
        Leave();
        _parts.Life.EndProcess();
        process.Complete(end);
        lock (_lock)
        {
            Forget();
        }
    }

    private void Enter()
    {
        lock (_lock)
        {
            if (_living == _parts.Options.MaxProcesses)
            {
                throw new SandboxCapacityException($"{_living} processes are alive in this session: end one, or try again later.");
            }

            _living++;
            Forget();
        }
    }

    private void Leave()
    {
        lock (_lock)
        {
            _living--;
        }
    }

    // Called under the lock. A living process may fill its history, so the ended ones get what the living ones leave.
    private void Forget()
    {
        DateTimeOffset now = _parts.Time.GetUtcNow();
        SessionProcess[] ended = [.. _processes.Where(process => process.End is not null).OrderByDescending(process => process.EndedAt)];
        long left = (_parts.Options.MaxProcesses - _living) * _parts.Options.ProcessHistoryBytes;
        TimeSpan? next = null;
        for (int i = 0; i < ended.Length; i++)
        {
            TimeSpan rest = ended[i].EndedAt + Memory - now;
            if (i >= MaxEnded || rest <= TimeSpan.Zero)
            {
                _processes.Remove(ended[i]);
                continue;
            }

            next = rest;
            if ((left -= ended[i].History.KeptBytes) < 0)
            {
                ended[i].History.Clear();
            }
        }

        _forgetting.Change(next ?? Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    // An ended session that somebody keeps also keeps its processes.
    private async Task EndTimerAsync()
    {
        await _parts.Life.Ended.ConfigureAwait(false);
        await _forgetting.DisposeAsync().ConfigureAwait(false);
    }
}
