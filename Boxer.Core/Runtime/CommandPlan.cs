using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;
using Boxer.Validation;

namespace Boxer.Runtime;

/// <summary>The command of a run as it is handed over to a booted sandbox: everything in which runs of one image and network mode differ.</summary>
/// <param name="Start">The content of the START frame.</param>
/// <param name="Files">Files to write before the command starts.</param>
/// <param name="Workspace">The workspace to fill; <see langword="null"/>: none.</param>
/// <param name="Stdin">Standard input.</param>
/// <param name="StdinStream">Standard input that comes while the command runs; <see langword="null"/>: <paramref name="Stdin"/>.</param>
/// <param name="Limits">Limits; only <see cref="ResourceLimits.CpuTime"/> may be <see langword="null"/>.</param>
/// <param name="Cgroup">Limits of the cgroup.</param>
/// <param name="Outputs">Treatment of the files under /output.</param>
/// <param name="StopGrace">Time that a command has to end after <paramref name="StopSignal"/>.</param>
/// <param name="StopSignal">The signal that asks the command to end.</param>
internal sealed record CommandPlan(
    InitStart Start,
    IReadOnlyList<SandboxFile> Files,
    CheckedWorkspace? Workspace,
    ReadOnlyMemory<byte> Stdin,
    Stream? StdinStream,
    ResourceLimits Limits,
    CgroupLimits Cgroup,
    OutputFilePolicy Outputs,
    TimeSpan StopGrace,
    int StopSignal)
{
    /// <summary>The START frame of <see cref="Start"/>, encoded ahead of the hand-over.</summary>
    internal required ReadOnlyMemory<byte> Frame { get; init; }

    /// <summary>Its input, and what becomes of its output.</summary>
    internal StreamPlan Streams => new(Stdin, StdinStream, Limits.StandardOutputBytes!.Value, KeepsPrinted, Start.UserId);

    /// <summary>Whether standard output and error are kept for the result.</summary>
    internal bool KeepsPrinted { get; init; } = true;
}
