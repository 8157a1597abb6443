using Boxer.Common;

namespace Boxer.Runtime.Init;

/// <summary>Something that PID 1 said, checked for form, bounds and order.</summary>
internal abstract record InitEvent;

/// <summary>PID 1 waits for its work.</summary>
/// <param name="ProtocolVersion">The version it speaks.</param>
internal sealed record InitReady(int ProtocolVersion) : InitEvent;

/// <summary>The command was executed.</summary>
internal sealed record InitStarted : InitEvent;

/// <summary>The command could not be executed; nothing more follows but <see cref="InitClosed"/>.</summary>
/// <param name="Stage">The step that failed.</param>
/// <param name="Errno">Its error number.</param>
internal sealed record InitNotStarted(InitStage Stage, int Errno) : InitEvent;

/// <summary>An input file could not be written; the command was not started, and nothing more follows.</summary>
/// <param name="Path">The path as it was sent, or what PID 1 claims it to be.</param>
/// <param name="Errno">The error number, for example 28 (ENOSPC).</param>
internal sealed record InitFileFailed(string Path, int Errno) : InitEvent;

/// <summary>The command ended and every other process is gone.</summary>
internal sealed record InitEnded : InitEvent
{
    /// <summary>The exit code, 0 to 255; <see langword="null"/> when it died of a signal.</summary>
    public int? ExitCode { get; init; }

    /// <summary>The signal it died of, 1 to 64; else <see langword="null"/>.</summary>
    public int? Signal { get; init; }

    /// <summary>User time of the command and of every process it left (getrusage(2), RUSAGE_CHILDREN of PID 1).</summary>
    public TimeSpan UserCpu { get; init; }

    /// <summary>System time of the same.</summary>
    public TimeSpan SystemCpu { get; init; }

    /// <summary>The largest resident set of any of them, in bytes; 0 if the sandbox's kernel does not say.</summary>
    public long MaxResidentBytes { get; init; }

    /// <summary>Whether the tmpfs had no free block at the end.</summary>
    public bool IsTmpfsFull { get; init; }

    /// <summary>Processes and threads of the command when KILL came; 0 where it did not.</summary>
    public int TasksAtKill { get; init; }
}

/// <summary>A directory under the output directory; it comes before its entries.</summary>
/// <param name="Path">Its path relative to the output directory, with <c>/</c> between names.</param>
/// <param name="Mode">Its permission bits.</param>
internal sealed record InitOutputDirectory(string Path, uint Mode) : InitEvent;

/// <summary>A file under the output directory; <paramref name="Size"/> bytes of <see cref="InitOutputData"/> follow.</summary>
/// <param name="Path">Its path relative to the output directory, with <c>/</c> between names.</param>
/// <param name="Mode">Its permission bits.</param>
/// <param name="Size">Its size in bytes.</param>
/// <param name="ModifiedAt">When it was modified, as the command says.</param>
internal sealed record InitOutputFile(string Path, uint Mode, long Size, DateTimeOffset ModifiedAt) : InitEvent;

/// <summary>A symbolic link of the workspace.</summary>
/// <param name="Path">Its path relative to the workspace, with <c>/</c> between names.</param>
/// <param name="Target">What it says, which may lead anywhere.</param>
internal sealed record InitOutputLink(string Path, string Target) : InitEvent;

/// <summary>The next bytes of the file announced last.</summary>
/// <param name="Data">The bytes; valid until the next read of the channel.</param>
internal sealed record InitOutputData(ReadOnlyMemory<byte> Data) : InitEvent;

/// <summary>
/// Something was left out. <see cref="InitTruncation.Unreadable"/> may come in the middle of a file and ends it;
/// what was received of it is not the file.
/// </summary>
/// <param name="Reason">Why.</param>
/// <param name="Count">How many entries; at least 1.</param>
internal sealed record InitOutputTruncated(InitTruncation Reason, long Count) : InitEvent;

/// <summary>All output was sent, or all changes of the workspace.</summary>
internal sealed record InitOutputDone : InitEvent;

/// <summary>PID 1 gave up: a frame it could not take, or a step of the preparation that failed. It exits.</summary>
/// <param name="Stage">What it was doing, printable ASCII.</param>
/// <param name="Errno">The error number, 0 if there is none.</param>
internal sealed record InitFault(string Stage, int Errno) : InitEvent;

/// <summary>The command of a warm-up is over, every process of it is gone, and PID 1 waits for its work.</summary>
/// <param name="End">How it ended.</param>
/// <param name="Value">The exit code, signal or error number of that.</param>
internal sealed record InitWarmedUp(InitWarmUpEnd End, int Value) : InitEvent;

/// <summary>PID 1 closed the socket or died. Whether that was due is for the caller to know from the events before.</summary>
internal sealed record InitClosed : InitEvent;

/// <summary>The steps between GO and the command. <see cref="UserNamespace"/> comes after <see cref="ResourceLimits"/>, all others in the order of their numbers.</summary>
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

    /// <summary>The seccomp filter.</summary>
    Seccomp = 8,

    /// <summary>setsid(2).</summary>
    Session = 9,

    /// <summary>chdir(2).</summary>
    WorkingDirectory = 10,

    /// <summary>execve(2): 2 (ENOENT) where the program does not exist.</summary>
    Execute = 11,

    /// <summary>The user namespace, where capabilities were asked for.</summary>
    UserNamespace = 12,
}

/// <summary>How the command of a warm-up ended.</summary>
internal enum InitWarmUpEnd : uint
{
    /// <summary>By itself.</summary>
    Exited = 0,

    /// <summary>By a signal.</summary>
    Signaled = 1,

    /// <summary>It could not be executed.</summary>
    NotStarted = 2,
}

/// <summary>Why something under the output directory was left out.</summary>
internal enum InitTruncation : uint
{
    /// <summary>Files that did not fit in the bytes left.</summary>
    Bytes = 1,

    /// <summary>More directory entries than asked for; the walk stopped.</summary>
    Entries = 2,

    /// <summary>Directories nested deeper than <see cref="InitProtocol.MaxOutputDepth"/>.</summary>
    Depth = 3,

    /// <summary>Paths longer than <see cref="CleanPath.MaxBytes"/>, or not UTF-8.</summary>
    Path = 4,

    /// <summary>Symbolic links, FIFOs, sockets and devices.</summary>
    NotRegular = 5,

    /// <summary>Files and directories that could not be read, or not to the end.</summary>
    Unreadable = 6,
}
