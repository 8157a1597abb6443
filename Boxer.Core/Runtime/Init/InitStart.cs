namespace Boxer.Runtime.Init;

/// <summary>Description of a run for PID 1: the content of the START frame.</summary>
internal sealed record InitStart
{
    /// <summary>Command with its arguments. PID 1 looks up a first entry without a slash in the PATH of <see cref="Environment"/>.</summary>
    public required IReadOnlyList<string> Arguments { get; init; }

    /// <summary>Whole environment, as <c>NAME=value</c>.</summary>
    public IReadOnlyList<string> Environment { get; init; } = [];

    /// <summary>Absolute path of the working directory. A missing directory is made and belongs to the user.</summary>
    public string WorkingDirectory { get; init; } = "/";

    /// <summary>User id; not <see cref="InitProtocol.ReservedId"/>.</summary>
    public required uint UserId { get; init; }

    /// <summary>Group id; not <see cref="InitProtocol.ReservedId"/>.</summary>
    public required uint GroupId { get; init; }

    /// <summary>
    /// Capabilities of a command of user 0 in its own user namespace, which has only the ids below <see cref="InitProtocol.MappedIds"/>.
    /// Must be none for other users.
    /// </summary>
    public InitCapabilities Capabilities { get; init; }

    /// <summary>Supplementary groups, at most <see cref="InitProtocol.MaxGroups"/>.</summary>
    public IReadOnlyList<uint> SupplementaryGroups { get; init; } = [];

    /// <summary>User, groups and capabilities.</summary>
    internal InitIdentity Identity => new(UserId, GroupId, SupplementaryGroups, Capabilities);

    /// <summary>Limits of setrlimit(2) for the command.</summary>
    public IReadOnlyList<InitResourceLimit> ResourceLimits { get; init; } = [];

    /// <summary>Host name of the sandbox, at most 64 bytes; empty for no change.</summary>
    public string Hostname { get; init; } = "";

    /// <summary>Directories of the tmpfs, in the order of mounting.</summary>
    public IReadOnlyList<InitTmpfs> Tmpfs { get; init; } = [];

    /// <summary>Size of the tmpfs in bytes, at least 1. It limits all directories of <see cref="Tmpfs"/> together.</summary>
    public long TmpfsBytes { get; init; } = 1;

    /// <summary>Small files that PID 1 writes after the mounts. They belong to root and have the mode 0644.</summary>
    public IReadOnlyList<InitTextFile> TextFiles { get; init; } = [];

    /// <summary>Directory to send after the end; <see langword="null"/> for none.</summary>
    public InitOutputs? Outputs { get; init; }

    /// <summary>Memory in bytes that programs read in /proc/meminfo and in the memory cgroup; at least <see cref="InitProtocol.LeastMemory"/>.</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>Processor time that programs read in the cpu cgroup, in microseconds per 100,000; at least 1.</summary>
    public required int CpuQuota { get; init; }

    /// <summary>Maximum number of bytes of changed files of the workspace to send after the end.</summary>
    public long ChangeBytes { get; init; }

    /// <summary>Maximum number of changed entries of the workspace to send after the end; 0 to send no changes.</summary>
    public int ChangeEntries { get; init; }

    /// <summary>Whether standard error goes to standard output.</summary>
    public bool MergeOutput { get; init; }

    /// <summary>Size of the terminal that the command has in place of its streams; <see langword="null"/>: none.</summary>
    public SandboxTerminal? Terminal { get; init; }
}

/// <summary>Identity of a command of a session, or of a file worker.</summary>
/// <param name="UserId">User id; not <see cref="InitProtocol.ReservedId"/>.</param>
/// <param name="GroupId">Group id; not <see cref="InitProtocol.ReservedId"/>.</param>
/// <param name="SupplementaryGroups">Supplementary groups, at most <see cref="InitProtocol.MaxGroups"/>.</param>
/// <param name="Capabilities">Capabilities of user 0 in its own user namespace. Must be none for other users.</param>
internal sealed record InitIdentity(
    uint UserId, uint GroupId, IReadOnlyList<uint> SupplementaryGroups, InitCapabilities Capabilities = InitCapabilities.None);

/// <summary>Capabilities that a command can have, as bits of capset(2).</summary>
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
    /// All capabilities of user 0: enough to install packages, to become another user (su, gosu, nginx) and for chroot. RLIMIT_NPROC limits each user
    /// that the run changes to; the host's pids cgroup limits all of them together.
    /// </summary>
    All = ChangeOwner | OverrideAccess | ActAsOwner | KeepSetId | Kill | SetGroupId | SetUserId | ChangeRoot | SetFileCapabilities,
}

/// <summary>Limit of setrlimit(2); <see cref="ulong.MaxValue"/> means no limit.</summary>
/// <param name="Resource">Resource to limit.</param>
/// <param name="Soft">Soft limit.</param>
/// <param name="Hard">Hard limit.</param>
internal sealed record InitResourceLimit(InitResource Resource, ulong Soft, ulong Hard);

/// <summary>Resources of setrlimit(2) that Boxer limits, by their Linux numbers.</summary>
internal enum InitResource : uint
{
    /// <summary>RLIMIT_CPU, seconds.</summary>
    Cpu = 0,

    /// <summary>RLIMIT_CORE, bytes.</summary>
    Core = 4,

    /// <summary>RLIMIT_NPROC, number of processes and threads of the user.</summary>
    Processes = 6,

    /// <summary>RLIMIT_NOFILE, one more than the highest descriptor number.</summary>
    OpenFiles = 7,
}

/// <summary>Directory of the tmpfs, mounted with nosuid and nodev. A missing directory is made.</summary>
/// <param name="Path">Absolute path.</param>
/// <param name="Mode">Mode, for example octal 1777.</param>
/// <param name="UserId">Owner.</param>
/// <param name="GroupId">Group.</param>
/// <param name="Kind">Kind of directory.</param>
internal sealed record InitTmpfs(string Path, uint Mode, uint UserId, uint GroupId, InitTmpfsKind Kind = InitTmpfsKind.Plain);

/// <summary>Kinds of directories of the tmpfs.</summary>
internal enum InitTmpfsKind : uint
{
    /// <summary>Always mounted.</summary>
    Plain = 0,

    /// <summary>Not mounted if the image has entries in the directory.</summary>
    UnlessUsed = 1,

    /// <summary>The workspace, which TREE frames fill. A run has at most one.</summary>
    Workspace = 2,
}

/// <summary>Small file of root with the mode 0644. It replaces an existing file.</summary>
/// <param name="Path">Absolute path.</param>
/// <param name="Content">Content of the file.</param>
internal sealed record InitTextFile(string Path, ReadOnlyMemory<byte> Content);

/// <summary>Directory whose files are sent after the end.</summary>
/// <param name="Path">Absolute path.</param>
/// <param name="MaxBytes">Maximum number of bytes of all files together. A file that exceeds the rest is omitted.</param>
/// <param name="MaxEntries">Maximum number of directory entries to examine, of any kind.</param>
internal sealed record InitOutputs(string Path, long MaxBytes, int MaxEntries);
