using Boxer.Common;
using Boxer.Runtime.Kept;
using Boxer.Validation;

namespace Boxer.Sessions;

/// <summary>The started processes of one session: living ones, and those that ended lately. Thread-safe.</summary>
/// <param name="parts">The session.</param>
/// <param name="calls">Runs operations on the sandbox.</param>
/// <param name="background">Tracks the reading of their output.</param>
internal sealed class SessionProcesses(SessionParts parts, SessionCalls calls, BackgroundTasks background)
{
    /// <summary>Maximum number of ended processes that are kept.</summary>
    internal const int MaxEnded = 100;

    /// <summary>Time for which ended processes are kept.</summary>
    internal static readonly TimeSpan Memory = TimeSpan.FromMinutes(10);

    // The histories of ended processes together, as a multiple of that of one.
    private const int MaxEndedHistories = 16;
    private readonly Lock _lock = new();
    private readonly List<SessionProcess> _processes = [];
    private int _living;

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
        calls.RunAsync(token => StartWithinCallAsync(command, token), cancellationToken);

    private async Task<ISandboxProcess> StartWithinCallAsync(CheckedCommand command, CancellationToken cancellationToken)
    {
        ExecPlan plan = SessionPlanner.BuildCommand(parts.Guest, command) with { DiskFull = parts.Disk.Full };
        Enter();
        IGuestProcess guest;
        try
        {
            guest = await parts.Sandbox.StartAsync(plan, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            Leave();
            throw;
        }

        var process = new SessionProcess(parts, calls, guest, plan);
        parts.Life.BeginProcess();
        lock (_lock)
        {
            _processes.Add(process);
        }

        Task pump = background.RunAsync(() => PumpAsync(process));
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
        parts.Life.EndProcess();
        process.Complete(end);
    }

    private void Enter()
    {
        lock (_lock)
        {
            if (_living == parts.Options.MaxProcesses)
            {
                throw new SandboxCapacityException($"{_living} processes are alive in this session: end one, or try again later.");
            }

            _living++;
        }
    }

    private void Leave()
    {
        lock (_lock)
        {
            _living--;
            Forget();
        }
    }

    // Called under the lock.
    private void Forget()
    {
        DateTimeOffset now = parts.Time.GetUtcNow();
        SessionProcess[] ended = [.. _processes.Where(process => process.End is not null).OrderByDescending(process => process.EndedAt)];
        long bytes = 0;
        for (int i = 0; i < ended.Length; i++)
        {
            if (i >= MaxEnded || now - ended[i].EndedAt >= Memory)
            {
                _processes.Remove(ended[i]);
            }
            else if ((bytes += ended[i].History.KeptBytes) > (long)MaxEndedHistories * parts.Options.ProcessHistoryBytes)
            {
                ended[i].History.Clear();
            }
        }
    }
}
