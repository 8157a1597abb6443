using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;

namespace Boxer.Runtime;

/// <summary>What is handed over to a booted sandbox: everything that makes one run differ from another, checked and filled in.</summary>
/// <param name="Start">What PID 1 is told.</param>
/// <param name="Files">Files to put in.</param>
/// <param name="Stdin">Standard input.</param>
/// <param name="Limits">Limits; only <see cref="ResourceLimits.CpuTime"/> may be <see langword="null"/>.</param>
/// <param name="Cgroup">What the cgroup holds.</param>
/// <param name="Outputs">What becomes of the files under /output.</param>
internal sealed record SandboxWork(
    InitStart Start, IReadOnlyList<SandboxFile> Files, ReadOnlyMemory<byte> Stdin, ResourceLimits Limits, CgroupLimits Cgroup, SandboxOutputs Outputs);

/// <summary>How the work ended.</summary>
internal sealed record SandboxEnd(
    Termination Termination,
    ReadOnlyMemory<byte> Stdout,
    ReadOnlyMemory<byte> Stderr,
    OutputFiles Outputs,
    SandboxUsage Usage,
    TimeSpan RunTime,
    TimeSpan OutputsTime,
    TimeSpan CleanupTime);
