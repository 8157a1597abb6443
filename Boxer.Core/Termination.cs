using Boxer.Common;

namespace Boxer;

/// <summary>Reason why a run ended.</summary>
public enum TerminationKind
{
    /// <summary>The command exited by itself; <see cref="Termination.ExitCode"/> is set.</summary>
    Exited,

    /// <summary>A signal ended the command; <see cref="Termination.Signal"/> is set.</summary>
    Signaled,

    /// <summary>
    /// The command reached <see cref="ResourceLimits.WallClock"/> and was killed, or it stopped within <see cref="SandboxRequest.StopGrace"/>.
    /// </summary>
    WallClockLimit,

    /// <summary>The sandbox used up <see cref="ResourceLimits.CpuTime"/>. It was killed unless it had already ended.</summary>
    CpuTimeLimit,

    /// <summary>The sandbox reached <see cref="ResourceLimits.MemoryBytes"/>, however the command reacted.</summary>
    MemoryLimit,

    /// <summary>
    /// Processes and threads of all users of the sandbox together exceeded the host's bound that follows from <see cref="ResourceLimits.Pids"/>,
    /// and the sandbox was killed. A single user reaches its own limit first: its fork fails with EAGAIN and the run goes on.
    /// </summary>
    PidsLimit,

    /// <summary>The command printed more than <see cref="ResourceLimits.StandardOutputBytes"/> and was killed.</summary>
    OutputLimit,

    /// <summary>
    /// The command failed, and the directories of <see cref="ResourceLimits.DiskBytes"/> were full at its end. <see cref="Termination.ExitCode"/>
    /// or <see cref="Termination.Signal"/> is set.
    /// </summary>
    DiskLimit,

    /// <summary>
    /// The command could not be started, or an input file could not be created; <see cref="Termination.Errno"/> has the reason. ETIMEDOUT (110): a command of a
    /// session did not start within 10 s and was killed; it may have run for a moment.
    /// </summary>
    NotStarted,

    /// <summary>
    /// The sandbox ended without reporting how the command ended. Either the command broke it from inside, or this host killed it because memory or
    /// processes, its own or of a cgroup above, were used up.
    /// </summary>
    SandboxDied,
}

/// <summary>
/// Describes how a run ended. Exit code and signal are separate: a command that exits with 137 was not killed. Two are equal if all properties are.
/// </summary>
public sealed record Termination
{
    private const int MaxExitCode = 255;
    private const int MaxSignal = 64;

    internal Termination(TerminationKind kind) => Kind = kind;

    /// <summary>Reason why the run ended.</summary>
    public TerminationKind Kind { get; }

    /// <summary>
    /// The exit code, 0 to 255, of a command that exited by itself: always with <see cref="TerminationKind.Exited"/>, and with
    /// <see cref="TerminationKind.DiskLimit"/> unless <see cref="Signal"/> is set. Otherwise <see langword="null"/>.
    /// </summary>
    public int? ExitCode { get; internal init; }

    /// <summary>The number of the signal (signal(7)) that ended the command; <see langword="null"/> if none did.</summary>
    public int? Signal { get; internal init; }

    /// <summary>
    /// The errno (errno(3)) of the failed step if <see cref="Kind"/> is <see cref="TerminationKind.NotStarted"/>; otherwise <see langword="null"/>.
    /// </summary>
    public int? Errno { get; internal init; }

    /// <summary>Description for people, for example <c>killed: the command reached its wall-clock limit of 30 s</c>.</summary>
    public string Message { get; internal init; } = "";

    /// <summary>Whether the command exited by itself with code 0.</summary>
    public bool IsSuccess => Kind == TerminationKind.Exited && ExitCode == 0;

    /// <summary>Creates the termination of a command that exited by itself.</summary>
    /// <param name="exitCode">The exit code, 0 to 255.</param>
    /// <exception cref="ArgumentOutOfRangeException">The code is out of range.</exception>
    public static Termination Exited(int exitCode)
    {
        CheckRange(exitCode, 0, MaxExitCode, nameof(exitCode));
        return new(TerminationKind.Exited) { ExitCode = exitCode, Message = $"exited with code {exitCode}" };
    }

    /// <summary>Creates the termination of a command that a signal ended.</summary>
    /// <param name="signal">The number of the signal, 1 to 64.</param>
    /// <exception cref="ArgumentOutOfRangeException">The number is out of range.</exception>
    public static Termination Signaled(int signal)
    {
        CheckRange(signal, 1, MaxSignal, nameof(signal));
        return new(TerminationKind.Signaled) { Signal = signal, Message = $"killed by signal {signal}" };
    }

    /// <summary>Creates the termination of a run that reached a limit.</summary>
    /// <param name="kind">The limit: one of the kinds whose names end in <c>Limit</c>.</param>
    /// <param name="message">Description for people; <see langword="null"/> for one that names the limit.</param>
    /// <param name="exitCode">
    /// Exit code of the command with <see cref="TerminationKind.DiskLimit"/>, 0 to 255. Default 1 unless <paramref name="signal"/> is set.
    /// </param>
    /// <param name="signal">Signal that ended the command with <see cref="TerminationKind.DiskLimit"/>, 1 to 64.</param>
    /// <exception cref="ArgumentException">
    /// The kind is not a limit, or a limit other than the disk limit has an exit code or signal, or the disk limit has both.
    /// </exception>
    /// <exception cref="ArgumentOutOfRangeException">The exit code or the signal is out of range.</exception>
    public static Termination Limit(TerminationKind kind, string? message = null, int? exitCode = null, int? signal = null)
    {
        string limit = kind switch
        {
            TerminationKind.WallClockLimit => "wall-clock",
            TerminationKind.CpuTimeLimit => "cpu-time",
            TerminationKind.MemoryLimit => "memory",
            TerminationKind.PidsLimit => "process",
            TerminationKind.OutputLimit => "output",
            TerminationKind.DiskLimit => "disk",
            _ => throw new ArgumentException($"{kind} is not a limit.", nameof(kind)),
        };
        if (kind != TerminationKind.DiskLimit)
        {
            return exitCode is null && signal is null
                ? new(kind) { Message = message ?? $"killed: the {limit} limit was reached" }
                : throw new ArgumentException($"{kind} has neither an exit code nor a signal.", exitCode is null ? nameof(signal) : nameof(exitCode));
        }

        Termination end = (exitCode, signal) switch
        {
            (null, { } number) => Signaled(number),
            (_, null) => Exited(exitCode ?? 1),
            _ => throw new ArgumentException("A command that a signal ended has no exit code.", nameof(exitCode)),
        };
        return new(kind) { ExitCode = end.ExitCode, Signal = end.Signal, Message = message ?? $"{end.Message}, and its disk was full" };
    }

    /// <summary>Creates the termination of a run whose command could not be started.</summary>
    /// <param name="errno">The errno (errno(3)), 1 or more; 2 for a command that does not exist.</param>
    /// <param name="message">Description for people; <see langword="null"/> for one that names the errno.</param>
    /// <exception cref="ArgumentOutOfRangeException">The errno is less than 1.</exception>
    public static Termination NotStarted(int errno, string? message = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(errno, 1);
        return new(TerminationKind.NotStarted) { Errno = errno, Message = message ?? $"the command could not be started (errno {errno})" };
    }

    /// <summary>Creates the termination of a run whose sandbox ended before it reported how the command ended.</summary>
    /// <param name="message">Description for people; <see langword="null"/> for a general one.</param>
    public static Termination SandboxDied(string? message = null) =>
        new(TerminationKind.SandboxDied) { Message = message ?? "the sandbox died before it reported how the command ended" };

    /// <summary>Returns <see cref="Message"/>, printable and shortened to 200 characters.</summary>
    public override string ToString() => UntrustedText.Show(Message);

    private static void CheckRange(int value, int least, int most, string name)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(value, least, name);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(value, most, name);
    }
}
