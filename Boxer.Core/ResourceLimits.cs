using System.Globalization;

namespace Boxer;

/// <summary>
/// Limits of one run. In <see cref="SandboxRequest.Limits"/> a <see langword="null"/> means the default of
/// <see cref="BoxerOptions.DefaultLimits"/>, and there it means the default named here.
/// </summary>
public sealed record ResourceLimits
{
    /// <summary>Limits of a run where neither its request nor <see cref="BoxerOptions.DefaultLimits"/> sets one; a new copy.</summary>
    internal static ResourceLimits Defaults => new()
    {
        CpuCores = 1,
        MemoryBytes = 256 * ByteSize.MiB,
        Pids = 64,
        WallClock = TimeSpan.FromSeconds(30),
        CpuTime = null,
        OpenFiles = 256,
        DiskBytes = 128 * ByteSize.MiB,
        StandardOutputBytes = 10 * ByteSize.MiB,
        OutputFilesBytes = 64 * ByteSize.MiB,
        OutputFilesCount = 1_000,
    };

    /// <summary>
    /// Processor time per wall-clock time, in cores; 0.01 to 1,024, and at most what this machine has. Held by the cgroup's cpu quota, and
    /// promised to the command while it runs (<see cref="BoxerOptions.CpuOvercommit"/>). The command sees as many processors, rounded up.
    /// <value>Default 1.</value>
    /// </summary>
    public double? CpuCores { get; set; }

    /// <summary>
    /// Memory of the whole sandbox in bytes: the command, its files in memory and the gVisor kernel itself; 32 MiB to 1 TiB, rounded up to whole pages.
    /// Held by the memory cgroup; a run that reaches it ends as <see cref="TerminationKind.MemoryLimit"/>. The command reads it in /proc/meminfo
    /// and in its memory cgroup.
    /// <value>Default 256 MiB.</value>
    /// </summary>
    public long? MemoryBytes { get; set; }

    /// <summary>
    /// Processes and threads of the command's user; 1 to 32,768. Held by RLIMIT_NPROC (getrlimit(2)): the next fork fails with EAGAIN.
    /// User 0 can become other users, and each of them may have as many. The host's pids cgroup limits all of them together; a run that reaches
    /// it ends as <see cref="TerminationKind.PidsLimit"/>. With <see cref="BoxerOptions.IgnoreCgroups"/> nothing limits them together.
    /// <value>Default 64.</value>
    /// </summary>
    public int? Pids { get; set; }

    /// <summary>
    /// Time from the start of the command to its end; 1 ms to 24 h. Waiting for a slot or for processors does not count, nor does putting files in.
    /// A run that reaches it ends as <see cref="TerminationKind.WallClockLimit"/>. A request whose files are not in within as long, but at least
    /// 10 s, is refused.
    /// <value>Default 30 s.</value>
    /// </summary>
    public TimeSpan? WallClock { get; set; }

    /// <summary>
    /// Processor time of the whole sandbox, from the start of the command to its end, on all cores together: user and system time of every
    /// process of the command, and of the gVisor kernel that serves them; 10 ms to 24 h. A command that sleeps or waits uses none.
    /// A run that reaches it ends as <see cref="TerminationKind.CpuTimeLimit"/>. The cgroup is sampled while the command runs. A run
    /// exceeds the limit by at most 0.1 s per core, plus the time that ending it takes. With <see cref="BoxerOptions.IgnoreCgroups"/>,
    /// RLIMIT_CPU (getrlimit(2)) limits the command's own process and its threads, in whole seconds rounded up. Children count only after they
    /// have ended. <see cref="SandboxResult.UnenforcedLimits"/> then names it. A host with cgroup v1 and no cpuacct controller does the same.
    /// <value>Default <see langword="null"/>: as much as <see cref="BoxerOptions.MaxLimits"/> allows, else no limit.</value>
    /// </summary>
    public TimeSpan? CpuTime { get; set; }

    /// <summary>
    /// Open descriptors of one process; 8 to 1,048,576. Held by RLIMIT_NOFILE (getrlimit(2)).
    /// <value>Default 256.</value>
    /// </summary>
    public int? OpenFiles { get; set; }

    /// <summary>
    /// Size in bytes of /tmp, $HOME, /dev/shm, the workspace and /output together; 1 MiB to 1 TiB, rounded up to whole pages. They are in memory, so what is in them also counts as
    /// <see cref="MemoryBytes"/>. A write that does not fit fails with ENOSPC; where the command then fails too, the run ends as
    /// <see cref="TerminationKind.DiskLimit"/>. Files elsewhere are bounded by the memory alone.
    /// <value>Default 128 MiB.</value>
    /// </summary>
    public long? DiskBytes { get; set; }

    /// <summary>
    /// Bytes of standard output, and of standard error; 1 byte to 1 GiB. A run that prints more ends at once as
    /// <see cref="TerminationKind.OutputLimit"/>; the first bytes are kept.
    /// <value>Default 10 MiB.</value>
    /// </summary>
    public long? StandardOutputBytes { get; set; }

    /// <summary>
    /// Bytes of all files under /output that are taken; 1 byte to 64 GiB. <see cref="DiskBytes"/> bounds what the command can write there.
    /// <value>Default 64 MiB.</value>
    /// </summary>
    public long? OutputFilesBytes { get; set; }

    /// <summary>
    /// Entries under /output that are looked at, files, directories and links alike; 1 to 1,000,000. What comes after them is left out.
    /// <value>Default 1,000.</value>
    /// </summary>
    public int? OutputFilesCount { get; set; }

    /// <summary>Returns the limits that are set, by name; "defaults" where none is.</summary>
    public override string ToString()
    {
        (string Name, object? Value)[] limits =
        [
            (nameof(CpuCores), CpuCores),
            (nameof(MemoryBytes), MemoryBytes),
            (nameof(Pids), Pids),
            (nameof(WallClock), WallClock),
            (nameof(CpuTime), CpuTime),
            (nameof(OpenFiles), OpenFiles),
            (nameof(DiskBytes), DiskBytes),
            (nameof(StandardOutputBytes), StandardOutputBytes),
            (nameof(OutputFilesBytes), OutputFilesBytes),
            (nameof(OutputFilesCount), OutputFilesCount),
        ];
        string set = string.Join(", ", limits.Where(limit => limit.Value is not null).Select(limit => string.Create(CultureInfo.InvariantCulture, $"{limit.Name} {limit.Value}")));
        return set.Length > 0 ? set : "defaults";
    }
}
