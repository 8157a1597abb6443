using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;
using Boxer.Validation;

namespace Boxer.Runtime;

/// <summary>What is handed over to a booted sandbox: everything that makes one run differ from another, checked and filled in.</summary>
/// <param name="Start">What PID 1 is told.</param>
/// <param name="Files">Files to put in.</param>
/// <param name="Workspace">The workspace to fill, or <see langword="null"/>.</param>
/// <param name="Stdin">Standard input.</param>
/// <param name="StdinStream">Standard input that comes while the command runs, or <see langword="null"/>.</param>
/// <param name="Limits">Limits; only <see cref="ResourceLimits.CpuTime"/> may be <see langword="null"/>.</param>
/// <param name="Cgroup">What the cgroup holds.</param>
/// <param name="Outputs">What becomes of the files under /output.</param>
/// <param name="StopGrace">How long a command that must end has for it, after <paramref name="StopSignal"/>.</param>
/// <param name="StopSignal">The signal that asks it to end.</param>
internal sealed record CommandPlan(
    InitStart Start, IReadOnlyList<SandboxFile> Files, CheckedWorkspace? Workspace, ReadOnlyMemory<byte> Stdin, Stream? StdinStream, ResourceLimits Limits, CgroupLimits Cgroup, OutputFilePolicy Outputs,
    TimeSpan StopGrace, int StopSignal)
{
    /// <summary>The START frame of <see cref="Start"/>, encoded when the work was put together.</summary>
    internal required ReadOnlyMemory<byte> Frame { get; init; }

    /// <summary>Whether standard output and error are kept for the result.</summary>
    internal bool KeepsPrinted { get; init; } = true;
}

/// <summary>How the work ended.</summary>
internal sealed record CommandOutcome(
    Termination Termination,
    ReadOnlyMemory<byte> Stdout,
    ReadOnlyMemory<byte> Stderr,
    OutputFiles Outputs,
    WorkspaceChanges? Changes,
    SandboxUsage Usage,
    DateTimeOffset HandedOverAt,
    TimeSpan RunTime,
    TimeSpan OutputsTime,
    TimeSpan CleanupTime);
