using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;
using Boxer.Validation;

namespace Boxer.Runtime.Kept;

/// <summary>A kept sandbox as it is opened.</summary>
/// <param name="Start">
/// The content of the OPEN frame: user (owner of the directories), host name, directories, text files and visible limits. It has no arguments, environment,
/// outputs or changes.
/// </param>
/// <param name="Files">Files to write before the first command.</param>
/// <param name="Workspace">The workspace to fill; <see langword="null"/>: none.</param>
/// <param name="Limits">Limits of the sandbox, for messages.</param>
/// <param name="Cgroup">Limits of the cgroup.</param>
internal sealed record OpenPlan(
    InitStart Start, IReadOnlyList<SandboxFile> Files, CheckedWorkspace? Workspace, ResourceLimits Limits, CgroupLimits Cgroup);

/// <summary>A command for a kept sandbox.</summary>
internal sealed record ExecPlan
{
    /// <summary>Command with its arguments. PID 1 looks up a first entry without a slash in the PATH of <see cref="Environment"/>.</summary>
    internal required IReadOnlyList<string> Arguments { get; init; }

    /// <summary>Whole environment, as <c>NAME=value</c>.</summary>
    internal IReadOnlyList<string> Environment { get; init; } = [];

    /// <summary>Absolute path of the working directory.</summary>
    internal string WorkingDirectory { get; init; } = "/";

    /// <summary>The user.</summary>
    internal required InitIdentity User { get; init; }

    /// <summary>Limits of setrlimit(2).</summary>
    internal IReadOnlyList<InitResourceLimit> ResourceLimits { get; init; } = [];

    /// <summary>Standard input of a foreground command.</summary>
    internal ReadOnlyMemory<byte> Stdin { get; init; }

    /// <summary>Standard input that comes while a foreground command runs; <see langword="null"/>: <see cref="Stdin"/>.</summary>
    internal Stream? StdinStream { get; init; }

    /// <summary>Whether standard error goes to standard output.</summary>
    internal bool MergeOutput { get; init; }

    /// <summary>Whether standard output and error are kept for the outcome.</summary>
    internal bool KeepsOutput { get; init; } = true;

    /// <summary>Maximum of standard output, and of standard error, of a foreground command, in bytes.</summary>
    internal long OutputLimit { get; init; } = long.MaxValue;

    /// <summary>Maximum time; <see langword="null"/>: no limit.</summary>
    internal TimeSpan? WallClock { get; init; }

    /// <summary>Maximum processor time of the processes of its session; <see langword="null"/>: no limit.</summary>
    internal TimeSpan? CpuTime { get; init; }

    /// <summary>Cancelled when the sandbox is over its disk limit. It kills the command, which then ends with <see cref="TerminationKind.DiskLimit"/>.</summary>
    internal CancellationToken DiskFull { get; init; }

    /// <summary>Time to end after <see cref="StopSignal"/> before it is killed, at the wall clock and at a cancellation. Default none.</summary>
    internal TimeSpan StopGrace { get; init; }

    /// <summary>The signal that asks the command to end. Default SIGTERM.</summary>
    internal int StopSignal { get; init; } = 15;

    /// <summary>Size of its terminal; <see langword="null"/>: standard streams. Only for <see cref="IKeptSandbox.StartAsync"/>.</summary>
    internal SandboxTerminal? Terminal { get; init; }
}

/// <summary>The end of a command in a kept sandbox.</summary>
/// <param name="Termination">How it ended.</param>
/// <param name="Usage">Processor time and memory of its processes.</param>
/// <param name="LeftBehind">Number of processes of its session that outlived it.</param>
internal sealed record ExecEnd(Termination Termination, SandboxUsage Usage, int LeftBehind);

/// <summary>The outcome of a foreground command.</summary>
/// <param name="End">How it ended.</param>
/// <param name="Stdout">Standard output, if the plan keeps it.</param>
/// <param name="Stderr">Standard error, if the plan keeps it.</param>
/// <param name="HandedOverAt">The time of the hand-over.</param>
/// <param name="RunTime">Time from the hand-over to the end of the first process.</param>
/// <param name="DrainTime">Time from then to the last byte of the output.</param>
internal sealed record ExecOutcome(
    ExecEnd End, ReadOnlyMemory<byte> Stdout, ReadOnlyMemory<byte> Stderr, DateTimeOffset HandedOverAt, TimeSpan RunTime, TimeSpan DrainTime);
