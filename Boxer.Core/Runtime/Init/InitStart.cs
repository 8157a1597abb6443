namespace Boxer.Runtime.Init;

/// <summary>What makes one run differ from another: the content of the START frame.</summary>
internal sealed record InitStart
{
    /// <summary>The whole command; the first entry is looked up in the PATH of <see cref="Environment"/> if it has no slash.</summary>
    public required IReadOnlyList<string> Arguments { get; init; }

    /// <summary>The whole environment as <c>NAME=value</c>.</summary>
    public IReadOnlyList<string> Environment { get; init; } = [];

    /// <summary>The absolute directory to start in; made, and owned by the user, when it is missing.</summary>
    public string WorkingDirectory { get; init; } = "/";

    /// <summary>The user; never <see cref="InitProtocol.ReservedId"/>.</summary>
    public required uint UserId { get; init; }

    /// <summary>The group; never <see cref="InitProtocol.ReservedId"/>.</summary>
    public required uint GroupId { get; init; }

    /// <summary>
    /// Capabilities of the command in a user namespace of its own, which has the ids below <see cref="InitProtocol.MappedIds"/> only.
    /// Only for user 0; every other user has none.
    /// </summary>
    public InitCapabilities Capabilities { get; init; }

    /// <summary>Supplementary groups, at most <see cref="InitProtocol.MaxGroups"/>.</summary>
    public IReadOnlyList<uint> SupplementaryGroups { get; init; } = [];

    /// <summary>Limits of setrlimit(2) for the command.</summary>
    public IReadOnlyList<InitResourceLimit> ResourceLimits { get; init; } = [];

    /// <summary>The sandbox's host name, at most 64 bytes; empty leaves it.</summary>
    public string Hostname { get; init; } = "";

    /// <summary>Directories in memory to mount, in this order.</summary>
    public IReadOnlyList<InitTmpfs> Tmpfs { get; init; } = [];

    /// <summary>The most that all of <see cref="Tmpfs"/> may hold together, in bytes; 1 or more.</summary>
    public long TmpfsBytes { get; init; } = 1;

    /// <summary>Small files to write after the mounts, owned by root, mode 0644.</summary>
    public IReadOnlyList<InitTextFile> TextFiles { get; init; } = [];

    /// <summary>The directory to stream after the end; <see langword="null"/>: none.</summary>
    public InitOutputs? Outputs { get; init; }

    /// <summary>The memory that programs read in /proc/meminfo and in the memory cgroup, in bytes; at least <see cref="InitProtocol.LeastMemory"/>.</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>The processor time that programs read in the cpu cgroup, in microseconds for each 100,000; at least 1.</summary>
    public required int CpuQuota { get; init; }

    /// <summary>The most bytes of the workspace's changed files that are streamed after the end.</summary>
    public long ChangeBytes { get; init; }

    /// <summary>The most changed entries of the workspace that are streamed after the end; 0: none are looked for.</summary>
    public int ChangeEntries { get; init; }

    /// <summary>Whether standard error goes where standard output goes.</summary>
    public bool MergeOutput { get; init; }
}

/// <summary>Capabilities that the command may have, as bits of capset(2).</summary>
[Flags]
internal enum InitCapabilities : ulong
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>CAP_CHOWN.</summary>
    ChangeOwner = 1ul << 0,

    /// <summary>CAP_DAC_OVERRIDE.</summary>
    OverrideAccess = 1ul << 1,

    /// <summary>CAP_FOWNER.</summary>
    ActAsOwner = 1ul << 3,

    /// <summary>CAP_FSETID.</summary>
    KeepSetId = 1ul << 4,

    /// <summary>CAP_KILL.</summary>
    Kill = 1ul << 5,

    /// <summary>CAP_SETGID.</summary>
    SetGroupId = 1ul << 6,

    /// <summary>CAP_SETUID.</summary>
    SetUserId = 1ul << 7,

    /// <summary>CAP_SYS_CHROOT.</summary>
    ChangeRoot = 1ul << 18,

    /// <summary>CAP_SETFCAP.</summary>
    SetFileCapabilities = 1ul << 31,

    /// <summary>
    /// Everything that user 0 gets: installing packages, becoming another user (su, gosu, nginx) and chroot. RLIMIT_NPROC holds for each user that
    /// the run changes to, and the host's pids cgroup for all of them together.
    /// </summary>
    All = ChangeOwner | OverrideAccess | ActAsOwner | KeepSetId | Kill | SetGroupId | SetUserId | ChangeRoot | SetFileCapabilities,
}

/// <summary>One limit of setrlimit(2); <see cref="ulong.MaxValue"/> is no limit.</summary>
/// <param name="Resource">The number of the resource, one of <see cref="InitResource"/>.</param>
/// <param name="Soft">The soft limit.</param>
/// <param name="Hard">The hard limit.</param>
internal sealed record InitResourceLimit(InitResource Resource, ulong Soft, ulong Hard);

/// <summary>Resources of setrlimit(2), by their Linux numbers.</summary>
internal enum InitResource : uint
{
    /// <summary>RLIMIT_CPU, seconds.</summary>
    Cpu = 0,

    /// <summary>RLIMIT_FSIZE, bytes.</summary>
    FileSize = 1,

    /// <summary>RLIMIT_STACK, bytes.</summary>
    Stack = 3,

    /// <summary>RLIMIT_CORE, bytes.</summary>
    Core = 4,

    /// <summary>RLIMIT_NPROC, processes and threads of the user.</summary>
    Processes = 6,

    /// <summary>RLIMIT_NOFILE, one more than the highest descriptor.</summary>
    OpenFiles = 7,

    /// <summary>RLIMIT_MEMLOCK, bytes.</summary>
    LockedMemory = 8,
}

/// <summary>A directory of the one tmpfs, to mount with nosuid and nodev; where it is missing, it is made.</summary>
/// <param name="Path">The absolute path.</param>
/// <param name="Mode">The mode of its root, for example octal 1777.</param>
/// <param name="UserId">The owner of its root.</param>
/// <param name="GroupId">The group of its root.</param>
/// <param name="Kind">What is special about it.</param>
internal sealed record InitTmpfs(string Path, uint Mode, uint UserId, uint GroupId, InitTmpfsKind Kind = InitTmpfsKind.Plain);

/// <summary>What is special about a directory of the one tmpfs.</summary>
internal enum InitTmpfsKind : uint
{
    /// <summary>Nothing.</summary>
    Plain = 0,

    /// <summary>It is left alone if it has an entry: what the image put there stays.</summary>
    UnlessUsed = 1,

    /// <summary>TREE frames fill it; at most one.</summary>
    Workspace = 2,
}

/// <summary>A small file, owned by root, mode 0644; an existing one is replaced.</summary>
/// <param name="Path">The absolute path.</param>
/// <param name="Content">The content.</param>
internal sealed record InitTextFile(string Path, ReadOnlyMemory<byte> Content);

/// <summary>The directory whose files are streamed after the end.</summary>
/// <param name="Path">The absolute path.</param>
/// <param name="MaxBytes">The most bytes of all files together; a file that does not fit is left out.</param>
/// <param name="MaxEntries">The most directory entries that are looked at, whatever they are.</param>
internal sealed record InitOutputs(string Path, long MaxBytes, int MaxEntries);
