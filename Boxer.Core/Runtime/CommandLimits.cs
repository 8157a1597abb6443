using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;

namespace Boxer.Runtime;

/// <summary>The limits of one command: waits until one is reached, and afterwards finds the one that ended the command.</summary>
/// <param name="plan">The command.</param>
/// <param name="memory">Watches the memory; <see langword="null"/> without cgroups.</param>
/// <param name="usage">Watches processor time and refused forks.</param>
/// <param name="streams">Standard input, output and error.</param>
/// <param name="destroyed">Cancelled when the sandbox is destroyed.</param>
internal sealed class CommandLimits(CommandPlan plan, OutOfMemoryMonitor? memory, UsageMonitor usage, CommandStreams streams, CancellationToken destroyed)
{
    private readonly (Task? Task, TerminationKind Kind)[] _reasons =
    [
        (memory?.Killed, TerminationKind.MemoryLimit),
        (streams.StdoutExceeded, TerminationKind.OutputLimit),
        (streams.StderrExceeded, TerminationKind.OutputLimit),
        (usage.CpuExceeded, TerminationKind.CpuTimeLimit),
        (usage.ForkRefused, TerminationKind.PidsLimit),
        (AsTask(destroyed), TerminationKind.SandboxDied),
        (FaultOf(streams.Input), TerminationKind.SandboxDied),
    ];

    /// <summary>Waits until the command ends, reaches a limit, or must end for another reason.</summary>
    /// <param name="command">The command.</param>
    /// <param name="stops">Cancelled when the command must end for another reason: its wall clock, or a cancellation.</param>
    /// <returns>The limit that was reached, <see cref="TerminationKind.WallClockLimit"/> for <paramref name="stops"/>; <see langword="null"/> if the command ended first.</returns>
    internal async Task<TerminationKind?> WaitAsync(Task command, params CancellationToken[] stops)
    {
        Task[] others = [.. stops.Select(AsTask)];
        Task first = await Task.WhenAny([command, .. _reasons.Select(reason => reason.Task).OfType<Task>(), .. others]).ConfigureAwait(false);
        return first == command ? null
            : others.Contains(first) ? TerminationKind.WallClockLimit
            : _reasons.First(reason => reason.Task == first).Kind;
    }

    /// <summary>Finds the limit that ended the command, from everything that is known after its end.</summary>
    /// <param name="stopped">The limit that <see cref="WaitAsync"/> returned.</param>
    /// <param name="end">The last report of PID 1.</param>
    /// <param name="hasStarted">Whether the command has started.</param>
    /// <param name="outOfMemory">Whether the kernel killed for lack of memory.</param>
    /// <param name="cpu">The processor time of the run; <see langword="null"/> if it is not known.</param>
    /// <returns><see langword="null"/> if the command ended by itself.</returns>
    internal TerminationKind? Find(TerminationKind? stopped, InitEvent end, bool hasStarted, OutOfMemory outOfMemory, TimeSpan? cpu)
    {
        if (outOfMemory != OutOfMemory.None)
        {
            return outOfMemory == OutOfMemory.OwnLimit ? TerminationKind.MemoryLimit : TerminationKind.SandboxDied;
        }

        if (usage.ForkRefused.IsCompleted && (stopped is not null || end is not InitEnded))
        {
            // A command that came to its end nevertheless did not need the process. One that has not started may get another sandbox.
            return usage.IsOwnPidsLimit && hasStarted ? TerminationKind.PidsLimit : TerminationKind.SandboxDied;
        }

        if (stopped is not null)
        {
            return stopped;
        }

        if (streams.StdoutExceeded.IsCompleted || streams.StderrExceeded.IsCompleted)
        {
            return TerminationKind.OutputLimit;
        }

        // Reached between two samples. Without cgroups: RLIMIT_CPU, or children that have ended.
        return end is InitEnded && cpu >= plan.Limits.CpuTime ? TerminationKind.CpuTimeLimit : null;
    }

    /// <returns>A task that completes when the given one fails, and otherwise never.</returns>
    private static Task FaultOf(Task task)
    {
        var source = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _ = task.ContinueWith(
            failed =>
            {
                _ = failed.Exception;
                source.TrySetResult();
            },
            CancellationToken.None,
            TaskContinuationOptions.OnlyOnFaulted,
            TaskScheduler.Default);
        return source.Task;
    }

    private static Task AsTask(CancellationToken token)
    {
        var source = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        token.UnsafeRegister(static state => ((TaskCompletionSource)state!).TrySetResult(), source);
        return source.Task;
    }
}
