namespace Boxer;

/// <summary>Why a run ended.</summary>
public enum TerminationKind
{
    /// <summary>The command exited by itself: <see cref="Termination.ExitCode"/> is set.</summary>
    Exited,

    /// <summary>A signal ended the command: <see cref="Termination.Signal"/> is set.</summary>
    Signaled,

    /// <summary>
    /// The command reached <see cref="ResourceLimits.WallClock"/> and was killed, or ended within <see cref="SandboxRequest.StopGrace"/> after it was asked to.
    /// </summary>
    WallClockLimit,

    /// <summary>The sandbox used as much processor time as <see cref="ResourceLimits.CpuTime"/> allows, and was killed if it was not over by then.</summary>
    CpuTimeLimit,

    /// <summary>The sandbox reached <see cref="ResourceLimits.MemoryBytes"/>, whatever the command made of it.</summary>
    MemoryLimit,

    /// <summary>
    /// The processes and threads of all users of the sandbox together took more of the host than <see cref="ResourceLimits.Pids"/> allows for, and
    /// the sandbox was killed. A single user meets its limit before that: its fork fails with EAGAIN and the run goes on.
    /// </summary>
    PidsLimit,

    /// <summary>The command printed more than <see cref="ResourceLimits.StandardOutputBytes"/> and was killed.</summary>
    OutputLimit,

    /// <summary>
    /// The command failed, and the directories of <see cref="ResourceLimits.DiskBytes"/> were full at its end. <see cref="Termination.ExitCode"/> or
    /// <see cref="Termination.Signal"/> is set.
    /// </summary>
    DiskLimit,

    /// <summary>The command, or an input file before it, could not be put in place or started: <see cref="Termination.Errno"/> says why.</summary>
    NotStarted,

    /// <summary>
    /// The sandbox ended without saying how the command ended. Either the command broke it from inside, or this host killed it: its memory, or its
    /// processes, or those of a cgroup above the sandbox's own, were used up.
    /// </summary>
    SandboxDied,
}

/// <summary>How a run ended. Exit code and signal are apart: a command that exits with 137 was not killed.</summary>
public sealed record Termination
{
    internal Termination(TerminationKind kind) => Kind = kind;

    /// <summary>Why the run ended.</summary>
    public TerminationKind Kind { get; }

    /// <summary>The exit code, 0 to 255, where the command exited by itself: with <see cref="TerminationKind.Exited"/>, and with <see cref="TerminationKind.DiskLimit"/>.</summary>
    public int? ExitCode { get; internal init; }

    /// <summary>The number of the signal (signal(7)) that ended the command: with <see cref="TerminationKind.Signaled"/>, and with <see cref="TerminationKind.DiskLimit"/>.</summary>
    public int? Signal { get; internal init; }

    /// <summary>The errno (errno(3)) of the step that failed, where <see cref="Kind"/> is <see cref="TerminationKind.NotStarted"/>.</summary>
    public int? Errno { get; internal init; }

    /// <summary>A sentence for a person, for example <c>killed: the command reached its wall-clock limit of 30 s</c>.</summary>
    public string Message { get; internal init; } = "";

    /// <inheritdoc/>
    public override string ToString() => Message;
}
