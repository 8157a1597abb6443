using Boxer.Common;

namespace Boxer.Runtime.Init;

/// <summary>Event of PID 1, checked for form, limits and order.</summary>
internal abstract record InitEvent;

/// <summary>PID 1 is ready for START or WARM_UP.</summary>
/// <param name="ProtocolVersion">Version of its protocol.</param>
internal sealed record InitReady(int ProtocolVersion) : InitEvent;

/// <summary>The command has started.</summary>
internal sealed record InitStarted : InitEvent;

/// <summary>The command could not be executed. Only <see cref="InitClosed"/> follows.</summary>
/// <param name="Stage">Step that failed.</param>
/// <param name="Errno">Error number of the step.</param>
internal sealed record InitNotStarted(InitStage Stage, int Errno) : InitEvent;

/// <summary>An input file could not be written. The command does not start. Only <see cref="InitClosed"/> follows.</summary>
/// <param name="Path">Path of the file, according to PID 1.</param>
/// <param name="Errno">Error number, for example 28 (ENOSPC).</param>
internal sealed record InitFileFailed(string Path, int Errno) : InitEvent;

/// <summary>The command and every other process have ended.</summary>
internal sealed record InitEnded : InitEvent
{
    /// <summary>Exit code, 0 to 255; <see langword="null"/> if a signal killed the command.</summary>
    public int? ExitCode { get; init; }

    /// <summary>Signal that killed the command, 1 to 64; otherwise <see langword="null"/>.</summary>
    public int? Signal { get; init; }

    /// <summary>User time of all processes of the command (getrusage(2), RUSAGE_CHILDREN of PID 1).</summary>
    public TimeSpan UserCpu { get; init; }

    /// <summary>System time of all processes of the command.</summary>
    public TimeSpan SystemCpu { get; init; }

    /// <summary>Largest resident set of a process of the command, in bytes; 0 if the sandbox's kernel does not report it.</summary>
    public long MaxResidentBytes { get; init; }

    /// <summary>Whether the tmpfs had no free block at the end.</summary>
    public bool IsTmpfsFull { get; init; }

    /// <summary>Number of processes and threads of the command when KILL arrived; 0 without a KILL.</summary>
    public int TasksAtKill { get; init; }
}

/// <summary>Directory below the output directory or the workspace. It comes before its entries.</summary>
/// <param name="Path">Relative path, with <c>/</c> between names.</param>
/// <param name="Mode">Permission bits.</param>
internal sealed record InitOutputDirectory(string Path, uint Mode) : InitEvent;

/// <summary>File below the output directory or the workspace. <paramref name="Size"/> bytes of <see cref="InitOutputData"/> follow.</summary>
/// <param name="Path">Relative path, with <c>/</c> between names.</param>
/// <param name="Mode">Permission bits.</param>
/// <param name="Size">Size in bytes.</param>
/// <param name="ModifiedAt">Modification time, which the command can set to any value.</param>
internal sealed record InitOutputFile(string Path, uint Mode, long Size, DateTimeOffset ModifiedAt) : InitEvent;

/// <summary>Symbolic link of the workspace.</summary>
/// <param name="Path">Path relative to the workspace, with <c>/</c> between names.</param>
/// <param name="Target">Target of the link. It can be any path.</param>
internal sealed record InitOutputLink(string Path, string Target) : InitEvent;

/// <summary>Next bytes of the last announced file.</summary>
/// <param name="Data">Bytes, valid until the next read of the channel.</param>
internal sealed record InitOutputData(ReadOnlyMemory<byte> Data) : InitEvent;

/// <summary>
/// PID 1 omitted entries. <see cref="InitTruncation.Unreadable"/> can come in the middle of a file and ends it; the file is then incomplete.
/// </summary>
/// <param name="Reason">Reason of the omission.</param>
/// <param name="Count">Number of omitted entries, at least 1.</param>
internal sealed record InitOutputTruncated(InitTruncation Reason, long Count) : InitEvent;

/// <summary>PID 1 has sent all outputs, or all changes of the workspace.</summary>
internal sealed record InitOutputDone : InitEvent;

/// <summary>PID 1 received an invalid frame, or a step of the preparation failed. PID 1 exits.</summary>
/// <param name="Stage">Step that failed, in printable ASCII.</param>
/// <param name="Errno">Error number, or 0.</param>
internal sealed record InitFault(string Stage, int Errno) : InitEvent;

/// <summary>The command of a warm-up and all its processes have ended. PID 1 is ready for START or WARM_UP.</summary>
/// <param name="End">Kind of end.</param>
/// <param name="Value">Exit code, signal or error number.</param>
internal sealed record InitWarmedUp(InitWarmUpEnd End, int Value) : InitEvent;

/// <summary>PID 1 counted the descriptors of a probe.</summary>
/// <param name="Descriptors">Number of descriptors.</param>
internal sealed record InitProbed(int Descriptors) : InitEvent;

/// <summary>PID 1 closed the socket or died. The events before show whether the run was complete.</summary>
internal sealed record InitClosed : InitEvent;

/// <summary>Steps between GO and the command. <see cref="UserNamespace"/> comes after <see cref="ResourceLimits"/>; the others come in the order of their numbers.</summary>
internal enum InitStage : uint
{
    /// <summary>setrlimit(2).</summary>
    ResourceLimits = 1,

    /// <summary>Reducing the bounding set of the user namespace, PR_CAPBSET_DROP.</summary>
    BoundingSet = 2,

    /// <summary>setgroups(2).</summary>
    Groups = 3,

    /// <summary>setresgid(2).</summary>
    GroupId = 4,

    /// <summary>setresuid(2).</summary>
    UserId = 5,

    /// <summary>capset(2).</summary>
    Capabilities = 7,

    /// <summary>Installing the seccomp filter.</summary>
    Seccomp = 8,

    /// <summary>setsid(2).</summary>
    Session = 9,

    /// <summary>chdir(2).</summary>
    WorkingDirectory = 10,

    /// <summary>execve(2). The error number is 2 (ENOENT) if the program does not exist.</summary>
    Execute = 11,

    /// <summary>Creating the user namespace of a command of user 0.</summary>
    UserNamespace = 12,

    /// <summary>Making the streams or the terminal of a command of a session, or receiving its descriptors.</summary>
    Streams = 13,
}

/// <summary>Kinds of ends of a warm-up's command.</summary>
internal enum InitWarmUpEnd : uint
{
    /// <summary>The command exited.</summary>
    Exited = 0,

    /// <summary>A signal killed the command.</summary>
    Signaled = 1,

    /// <summary>The command could not be executed.</summary>
    NotStarted = 2,
}

/// <summary>Reasons to omit entries of the output directory or of the workspace.</summary>
internal enum InitTruncation : uint
{
    /// <summary>Files larger than the remaining bytes.</summary>
    Bytes = 1,

    /// <summary>More directory entries than allowed; the walk stopped.</summary>
    Entries = 2,

    /// <summary>Directories nested deeper than <see cref="InitProtocol.MaxOutputDepth"/>.</summary>
    Depth = 3,

    /// <summary>Paths longer than <see cref="CleanPath.MaxBytes"/>, or not UTF-8.</summary>
    Path = 4,

    /// <summary>Symbolic links, FIFOs, sockets and devices.</summary>
    NotRegular = 5,

    /// <summary>Files and directories that could not be read completely.</summary>
    Unreadable = 6,
}
