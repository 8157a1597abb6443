namespace Boxer.Runtime;

/// <summary>The outcome of a command, and everything that is left of it.</summary>
/// <param name="Termination">How the command ended.</param>
/// <param name="Stdout">Standard output, if the plan keeps it.</param>
/// <param name="Stderr">Standard error, if the plan keeps it.</param>
/// <param name="Outputs">The files under /output.</param>
/// <param name="Changes">The changes of the workspace; <see langword="null"/> if they were not wanted.</param>
/// <param name="Usage">Processor time and memory.</param>
/// <param name="HandedOverAt">The time of the hand-over.</param>
/// <param name="RunTime">Time from the hand-over to the end of the command.</param>
/// <param name="OutputsTime">Time of receiving the files.</param>
/// <param name="CleanupTime">Time from then to the last byte of the output.</param>
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
