namespace Boxer.Runtime.Init;

/// <summary>The session is open. All further events are <see cref="SessionEvent"/>s.</summary>
internal sealed record InitOpened : InitEvent;

/// <summary>Event of an open session.</summary>
internal abstract record SessionEvent : InitEvent;

/// <summary>Event about one command, file worker or connection.</summary>
/// <param name="Id">Its number.</param>
internal abstract record SessionItemEvent(int Id) : SessionEvent;

/// <summary>A command or file worker has started.</summary>
/// <param name="Id">Its number.</param>
/// <param name="Pid">Process id in the sandbox.</param>
internal sealed record SessionProcessStarted(int Id, int Pid) : SessionItemEvent(Id);

/// <summary>A command or file worker could not be started. Last event of its number.</summary>
/// <param name="Id">Its number.</param>
/// <param name="Stage">Step that failed.</param>
/// <param name="Errno">Error number of the step.</param>
internal sealed record SessionProcessNotStarted(int Id, InitStage Stage, int Errno) : SessionItemEvent(Id);

/// <summary>The first process of a command, or a file worker, has ended. Last event of its number.</summary>
/// <param name="Id">Its number.</param>
internal sealed record SessionProcessEnded(int Id) : SessionItemEvent(Id)
{
    /// <summary>Exit code, 0 to 255; <see langword="null"/> if a signal killed it.</summary>
    public int? ExitCode { get; init; }

    /// <summary>Signal that killed it, 1 to 64; otherwise <see langword="null"/>.</summary>
    public int? Signal { get; init; }

    /// <summary>User time of the first process and of the children that it waited for.</summary>
    public TimeSpan UserCpu { get; init; }

    /// <summary>System time of the first process and of the children that it waited for.</summary>
    public TimeSpan SystemCpu { get; init; }

    /// <summary>Largest resident set in bytes; 0 if the sandbox's kernel does not report it.</summary>
    public long MaxResidentBytes { get; init; }

    /// <summary>Number of processes of its session that still live.</summary>
    public int LeftBehind { get; init; }

    /// <summary>Whether the tmpfs had no free block.</summary>
    public bool IsTmpfsFull { get; init; }
}

/// <summary>Next bytes of a stream.</summary>
/// <param name="Id">The command or connection.</param>
/// <param name="Stream">The stream.</param>
/// <param name="Data">At least one byte, valid until the next read of the channel.</param>
internal sealed record SessionOutput(int Id, SessionStream Stream, ReadOnlyMemory<byte> Data) : SessionItemEvent(Id);

/// <summary>No more bytes of a stream follow.</summary>
/// <param name="Id">The command or connection.</param>
/// <param name="Stream">The stream.</param>
internal sealed record SessionOutputEnd(int Id, SessionStream Stream) : SessionItemEvent(Id);

/// <summary>A connection is open.</summary>
/// <param name="Id">The connection.</param>
internal sealed record SessionConnected(int Id) : SessionItemEvent(Id);

/// <summary>A connection could not be opened. Last event of its number.</summary>
/// <param name="Id">The connection.</param>
/// <param name="Errno">Error number.</param>
internal sealed record SessionNotConnected(int Id, int Errno) : SessionItemEvent(Id);

/// <summary>There is room for input again.</summary>
/// <param name="Id">The command or connection.</param>
/// <param name="Bytes">Number of bytes.</param>
internal sealed record SessionInputTaken(int Id, int Bytes) : SessionItemEvent(Id);

/// <summary>A connection is over. Last event of its number.</summary>
/// <param name="Id">The connection.</param>
/// <param name="Errno">Error number; 0 if it ended in order.</param>
internal sealed record SessionClosed(int Id, int Errno) : SessionItemEvent(Id);

/// <summary>Answer to PROCESS_LIMITS.</summary>
/// <param name="Id">The command.</param>
/// <param name="Errno">Error number; 0 if the limits were set.</param>
internal sealed record SessionLimitsSet(int Id, int Errno) : SessionItemEvent(Id);

/// <summary>Answer to USAGE.</summary>
/// <param name="Tag">Tag of the request.</param>
/// <param name="DiskBytes">Bytes of the changed files of the root and of the tmpfs together.</param>
internal sealed record SessionUsageReport(uint Tag, long DiskBytes) : SessionEvent;

/// <summary>Answer to PROCESS_USAGE.</summary>
/// <param name="Tag">Tag of the request.</param>
/// <param name="Id">The command.</param>
/// <param name="Cpu">Processor time of its session's processes, living and reaped.</param>
/// <param name="Processes">Living processes of its session.</param>
internal sealed record SessionProcessUsage(uint Tag, int Id, TimeSpan Cpu, int Processes) : SessionEvent;

/// <summary>Answer to QUIESCE.</summary>
/// <param name="Tag">Tag of the request.</param>
/// <param name="Holders">Commands whose processes still have a descriptor of the host; 0 for processes that belong to none.</param>
internal sealed record SessionQuiet(uint Tag, IReadOnlyList<int> Holders) : SessionEvent;
