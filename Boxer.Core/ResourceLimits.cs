using System.Globalization;

namespace Boxer;

/// <summary>
/// Limits of one run. A <see langword="null"/> in <see cref="SandboxRequest.Limits"/> means the value of <see cref="BoxerOptions.DefaultLimits"/>.
/// A <see langword="null"/> there means the default documented at the property. A request with a value out of range is rejected with an
/// <see cref="InvalidSandboxRequestException"/>.
/// </summary>
public sealed record ResourceLimits
{
    /// <summary>
    /// Maximum processor time per wall-clock time, in cores; 0.01 to 1,024, and at most the processors of this machine. The cgroup's CPU quota
    /// enforces it. The command is promised these cores while it runs (see <see cref="BoxerOptions.CpuOvercommit"/>), and sees as many processors,
    /// rounded up.
    /// <value>Default 1.</value>
    /// </summary>
    public double? CpuCores { get; set; }

    /// <summary>
    /// Maximum memory of the whole sandbox in bytes: the command, its files in memory and the gVisor kernel; 32 MiB to 1 TiB, rounded up to whole
    /// pages. The memory cgroup enforces it. A run that reaches it ends as <see cref="TerminationKind.MemoryLimit"/>. The command can read the
    /// limit in /proc/meminfo and in its memory cgroup.
    /// <value>Default 256 MiB.</value>
    /// </summary>
    public long? MemoryBytes { get; set; }

    /// <summary>
    /// Maximum number of processes and threads of the command's user; 1 to 32,768. RLIMIT_NPROC (getrlimit(2)) enforces it: the next fork fails
    /// with EAGAIN. User 0 can become other users, each with the same limit. The host's pids cgroup bounds all users together; a run that reaches
    /// that bound ends as <see cref="TerminationKind.PidsLimit"/>. With <see cref="BoxerOptions.IgnoreCgroups"/> there is no bound for all users
    /// together.
    /// <value>Default 64.</value>
    /// </summary>
    public int? Pids { get; set; }

    /// <summary>
    /// Maximum time from the start of the command to its end; 1 ms to 24 h. Time spent queued, waiting for processors or sending input files does
    /// not count. A run that reaches it ends as <see cref="TerminationKind.WallClockLimit"/>. Sending the input files may take as long, but at
    /// least 10 s; a request whose files take longer is rejected.
    /// <value>Default 30 s.</value>
    /// </summary>
    public TimeSpan? WallClock { get; set; }

    /// <summary>
    /// Maximum processor time of the whole sandbox from the start of the command to its end, on all cores together; 10 ms to 24 h. It counts user
    /// and system time of every process of the command and of the gVisor kernel that serves them. A sleeping or waiting command uses none. A run
    /// that reaches it ends as <see cref="TerminationKind.CpuTimeLimit"/>. The cgroup is sampled while the command runs, so a run exceeds the limit
    /// by at most 0.1 s per core, plus the time needed to kill it. With <see cref="BoxerOptions.IgnoreCgroups"/>, and on a host with cgroup v1 and
    /// no cpuacct controller, RLIMIT_CPU (getrlimit(2)) limits the command's own process and its threads instead, in whole seconds rounded up.
    /// Child processes then count only after they have ended, and <see cref="SandboxResult.UnenforcedLimits"/> lists this limit.
    /// <value>Default <see langword="null"/>: the value of <see cref="BoxerOptions.MaxLimits"/>; if that is null too, no limit.</value>
    /// </summary>
    public TimeSpan? CpuTime { get; set; }

    /// <summary>
    /// Maximum number of open file descriptors of one process; 8 to 1,048,576. RLIMIT_NOFILE (getrlimit(2)) enforces it.
    /// <value>Default 256.</value>
    /// </summary>
    public int? OpenFiles { get; set; }

    /// <summary>
    /// Maximum size in bytes of /tmp, $HOME, /dev/shm, the workspace and /output together; 1 MiB to 1 TiB, rounded up to whole pages. These
    /// directories are in memory, so their files also count towards <see cref="MemoryBytes"/>. A write that exceeds it fails with ENOSPC. If the
    /// command then fails too, the run ends as <see cref="TerminationKind.DiskLimit"/>. Files elsewhere are bounded by memory only.
    /// <value>Default 128 MiB.</value>
    /// </summary>
    public long? DiskBytes { get; set; }

    /// <summary>
    /// Maximum number of bytes of standard output, and again of standard error; 1 byte to 1 GiB. A run that prints more ends at once as
    /// <see cref="TerminationKind.OutputLimit"/>. The bytes before the limit are kept.
    /// <value>Default 10 MiB.</value>
    /// </summary>
    public long? StandardOutputBytes { get; set; }

    /// <summary>
    /// Maximum number of bytes of all files collected from /output; 1 byte to 64 GiB. <see cref="DiskBytes"/> bounds what the command can write
    /// there.
    /// <value>Default 64 MiB.</value>
    /// </summary>
    public long? OutputFilesBytes { get; set; }

    /// <summary>
    /// Maximum number of entries under /output that are collected, files, directories and links alike; 1 to 1,000,000. Further entries are omitted.
    /// <value>Default 1,000.</value>
    /// </summary>
    public int? OutputFilesCount { get; set; }

    /// <summary>Returns the limits that are set, by name; "defaults" if none is.</summary>
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
