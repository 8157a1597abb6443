using System.Text.Json.Serialization;

namespace Boxer.AspNetCore.Contracts;

/// <summary>The body of POST /run and POST /run/stream. Names that are not listed here are refused.</summary>
internal sealed record RunRequestBody
{
    /// <summary>An image reference as Docker writes it, for example python:3.12-slim.</summary>
    public required string Image { get; set; }

    /// <summary>The whole command: program and arguments, at least one.</summary>
    public required IReadOnlyList<string> Cmd { get; set; }

    /// <summary>
    /// Variables as NAME=value, or as an object of names and values; added to those of the image. Of two with one name the last counts.
    /// </summary>
    public IReadOnlyList<string>? Env { get; set; }

    /// <summary>The absolute directory that the command starts in. Default: the workspace, else the image's, else /.</summary>
    public string? Cwd { get; set; }

    /// <summary>Limits of this run. Default: those of the host.</summary>
    public LimitsBody? Limits { get; set; }

    /// <summary>Paths of files that were uploaded before. Each appears at /path: readable and executable, not writable.</summary>
    public IReadOnlyList<string>? Files { get; set; }

    /// <summary>Small files in the request itself. Each appears at /path: readable, executable where it says so, not writable. At most 1000.</summary>
    public IReadOnlyList<InputBody>? Inputs { get; set; }

    /// <summary>A directory that the command can write, with files in it. Default: none.</summary>
    public WorkspaceBody? Workspace { get; set; }

    /// <summary>
    /// Whether what the command changed or made in its workspace comes back: as a tar archive in the answer, of at most inline_outputs_bytes.
    /// Default: false.
    /// </summary>
    public bool? WorkspaceOut { get; set; }

    /// <summary>What the command reads from its standard input. Default: nothing.</summary>
    public string? Stdin { get; set; }

    /// <summary>What the command reads from its standard input, in base64; in place of stdin.</summary>
    public byte[]? StdinBase64 { get; set; }

    /// <summary>
    /// Whether standard error goes into standard output, in the order in which both are written, as 2&gt;&amp;1 in a shell. Default: false.
    /// </summary>
    public bool? MergeStderr { get; set; }

    /// <summary>
    /// Milliseconds that a command may still run after it was asked to end, because its wall clock is over, the client is gone, or the host stops (then
    /// at most its stop_grace_secs): the image's StopSignal, else SIGTERM, goes to its process group, and what runs after this time is killed.
    /// 0 to 60000. Default: 0, everything is killed at once.
    /// </summary>
    public int? StopGraceMs { get; set; }

    /// <summary>A name, a uid, or uid:gid. Default: the image's, else 65534.</summary>
    public string? User { get; set; }

    /// <summary>Whether the uploads that the run used, also in its workspace, are kept after it, and by default what it wrote under /output too. Default: false.</summary>
    public bool? Persist { get; set; }

    /// <summary>
    /// What becomes of files under /output: none (the answer says how many were dropped), inline (small ones come in the answer) or keep (GET /files
    /// has them). Default: keep with persist, else none.
    /// </summary>
    public string? Outputs { get; set; }

    /// <summary>none, sandbox or host. Default: none.</summary>
    public string? Network { get; set; }

    /// <summary>When the registry is asked for the image: missing, always or never. Default: as the host is configured.</summary>
    public string? Pull { get; set; }

    /// <summary>What the run may reach with the network sandbox; it tightens what the host allows. Default: what the host allows.</summary>
    public EgressBody? Egress { get; set; }
}

/// <summary>A file in a request.</summary>
internal sealed record InputBody
{
    /// <summary>Its path: relative and clean.</summary>
    public required string Path { get; set; }

    /// <summary>Its content as text.</summary>
    public string? Content { get; set; }

    /// <summary>Its content in base64; in place of content.</summary>
    public byte[]? ContentBase64 { get; set; }

    /// <summary>Whether it can be executed. Default: false.</summary>
    public bool? Executable { get; set; }
}

/// <summary>
/// A directory that belongs to the user of the command. If several inputs have the same path, the archive wins over uploads, and uploads win over files. Together
/// they have at most 64 MiB and 10000 entries, nested 64 deep.
/// </summary>
internal sealed record WorkspaceBody
{
    /// <summary>Its absolute path; not /, /proc, /sys, /dev, /.boxer, /output or below one of them. Default: /workspace.</summary>
    public string? Path { get; set; }

    /// <summary>Paths of files that were uploaded before, or of directories of them; at most 1000. Each keeps its path in the workspace, and is executable.</summary>
    public IReadOnlyList<string>? Uploads { get; set; }

    /// <summary>Small files in the request itself; at most 1000.</summary>
    public IReadOnlyList<InputBody>? Files { get; set; }

    /// <summary>The path of a tar archive that was uploaded before, as it is or compressed with gzip. Modes, times, empty directories and links that stay inside are kept.</summary>
    public string? Archive { get; set; }
}

/// <summary>
/// What a run may reach. A rule is [tcp://|udp://]DESTINATION[:PORTS]: an address, a CIDR range, a domain or *.domain, such as
/// pypi.org:443 or 203.0.113.0/24.
/// </summary>
internal sealed record EgressBody
{
    /// <summary>What may be reached, and nothing else. Default: all that is public. Empty: nothing.</summary>
    public IReadOnlyList<string>? Allow { get; set; }

    /// <summary>What may not be reached, whatever else allows it.</summary>
    public IReadOnlyList<string>? Deny { get; set; }

    /// <summary>Bits per second in each direction; 8000 to 100000000000.</summary>
    public long? BandwidthBps { get; set; }

    /// <summary>Bytes in both directions together, and the resolver's upstream packets.</summary>
    public long? QuotaBytes { get; set; }
}

/// <summary>Limits of a run. 0, null or absent: the host's default.</summary>
internal sealed record LimitsBody
{
    /// <summary>The limits as they were read, by the table of limits. The other members describe them to clients.</summary>
    [JsonIgnore]
    public ResourceLimits Values { get; init; } = new();

    /// <summary>Processor time per wall-clock time, in cores; 0.01 to 1024, and at most the host's processors.</summary>
    public double? CpuCores { get; set; }

    /// <summary>Memory of the whole sandbox in MiB; 32 to 1048576.</summary>
    public int? MemoryMb { get; set; }

    /// <summary>Processes and threads; 1 to 32768.</summary>
    public int? PidsLimit { get; set; }

    /// <summary>Seconds from the start of the command to its end; 0.001 to 86400.</summary>
    public double? WallClockSecs { get; set; }

    /// <summary>
    /// Seconds of processor time of the whole sandbox, on all cores together, from the start of the command to its end; 0.01 to 86400.
    /// Default: the host's, else its max_limits, else none. Reaching it: 200, termination cpu_time_limit.
    /// </summary>
    public double? CpuTimeSecs { get; set; }

    /// <summary>Open descriptors of one process; 8 to 1048576.</summary>
    public int? Nofile { get; set; }

    /// <summary>Size in MiB of /tmp, $HOME, /dev/shm, the workspace and /output together; 1 to 1048576. What is in them counts as memory too.</summary>
    public int? DiskMb { get; set; }
}
