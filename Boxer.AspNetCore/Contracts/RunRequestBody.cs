using System.Text.Json.Serialization;

namespace Boxer.AspNetCore.Contracts;

/// <summary>The body of POST /run and POST /run/stream. Unknown names are rejected.</summary>
internal sealed record RunRequestBody
{
    /// <summary>An image reference as Docker writes it, such as python:3.12-slim.</summary>
    public required string Image { get; set; }

    /// <summary>The program and its arguments; at least one item.</summary>
    public required IReadOnlyList<string> Cmd { get; set; }

    /// <summary>
    /// Environment variables as NAME=value, or as an object of names and values. They are added to the image's. If a name occurs twice, the last value
    /// is used.
    /// </summary>
    public IReadOnlyList<string>? Env { get; set; }

    /// <summary>Absolute path of the working directory. Default: the workspace, else the image's, else /.</summary>
    public string? Cwd { get; set; }

    /// <summary>Limits of this run. Default: the host's limits.</summary>
    public LimitsBody? Limits { get; set; }

    /// <summary>Paths of uploaded files. Each appears at /path: readable and executable; only user 0 can write it.</summary>
    public IReadOnlyList<string>? Files { get; set; }

    /// <summary>Small files in the request itself. Each appears at /path: readable, executable if it says so; only user 0 can write it. At most 1000.</summary>
    public IReadOnlyList<InputBody>? Inputs { get; set; }

    /// <summary>A directory with files that the command can write. Default: none.</summary>
    public WorkspaceBody? Workspace { get; set; }

    /// <summary>
    /// Whether the response returns the files that the command created or changed in its workspace, as a tar archive of at most inline_outputs_bytes.
    /// Default: false.
    /// </summary>
    public bool? WorkspaceOut { get; set; }

    /// <summary>Text for the command's standard input. Default: empty.</summary>
    public string? Stdin { get; set; }

    /// <summary>Bytes for the command's standard input, in base64. Instead of stdin.</summary>
    public byte[]? StdinBase64 { get; set; }

    /// <summary>
    /// Whether standard error is written to standard output, in order, as with 2&gt;&amp;1 in a shell. Default: false.
    /// </summary>
    public bool? MergeStderr { get; set; }

    /// <summary>
    /// A terminal instead of separate streams: all output is in stdout, and stdin is typed. TERM is xterm unless env or the image sets it. Default: none.
    /// </summary>
    public TerminalBody? Terminal { get; set; }

    /// <summary>
    /// Milliseconds that the command has to end after it was asked to: at its wall-clock limit, when the client disconnects, or when the host stops (then
    /// at most the host's stop_grace_secs). The image's StopSignal, else SIGTERM, is sent to the process group; processes that still run after this
    /// time are killed. 0 to 60000. Default: 0, which kills them at once.
    /// </summary>
    public int? StopGraceMs { get; set; }

    /// <summary>A user name, a uid, or uid:gid. Default: the image's, else 65534.</summary>
    public string? User { get; set; }

    /// <summary>Whether the uploads that the run used are kept after it, including those in its workspace. Also changes the default of outputs to keep. Default: false.</summary>
    public bool? Persist { get; set; }

    /// <summary>
    /// Handling of files under /output: none (they are dropped; the response has their number), inline (the response includes small files) or keep (GET
    /// /files returns them). Default: keep with persist, else none.
    /// </summary>
    public string? Outputs { get; set; }

    /// <summary>none, sandbox or host. Default: none.</summary>
    public string? Network { get; set; }

    /// <summary>When to contact the registry: missing (if the image is not in the local store), always or never. Default: the host's setting.</summary>
    public string? Pull { get; set; }

    /// <summary>Destinations that the run may reach with the network sandbox. It can only restrict the host's policy. Default: the host's policy.</summary>
    public EgressBody? Egress { get; set; }
}

/// <summary>A file in the request.</summary>
internal sealed record InputBody
{
    /// <summary>The relative path, without empty, . or .. segments.</summary>
    public required string Path { get; set; }

    /// <summary>The content as text.</summary>
    public string? Content { get; set; }

    /// <summary>The content in base64. Instead of content.</summary>
    public byte[]? ContentBase64 { get; set; }

    /// <summary>Whether the file is executable. Default: false.</summary>
    public bool? Executable { get; set; }
}

/// <summary>
/// A directory that belongs to the user of the command. If several inputs have the same path, the archive takes precedence over uploads, and uploads
/// over files. Together they may have at most 64 MiB and 10000 entries, nested 64 levels deep.
/// </summary>
internal sealed record WorkspaceBody
{
    /// <summary>The absolute path; not /, /proc, /sys, /dev, /.boxer, /output or below one of them. Default: /workspace.</summary>
    public string? Path { get; set; }

    /// <summary>Paths of uploaded files or directories of them; at most 1000. Each keeps its path in the workspace and is executable.</summary>
    public IReadOnlyList<string>? Uploads { get; set; }

    /// <summary>Small files in the request itself; at most 1000.</summary>
    public IReadOnlyList<InputBody>? Files { get; set; }

    /// <summary>Path of an uploaded tar archive, optionally compressed with gzip. Modes, times, empty directories and links that stay inside are preserved.</summary>
    public string? Archive { get; set; }
}

/// <summary>
/// Destinations that a run may reach. A rule is [tcp://|udp://]DESTINATION[:PORTS], where DESTINATION is an address, a CIDR range, a domain or
/// *.domain, such as pypi.org:443 or 203.0.113.0/24.
/// </summary>
internal sealed record EgressBody
{
    /// <summary>The only destinations that are allowed. Default: all public addresses. Empty: none.</summary>
    public IReadOnlyList<string>? Allow { get; set; }

    /// <summary>Destinations that are denied, even if another rule allows them.</summary>
    public IReadOnlyList<string>? Deny { get; set; }

    /// <summary>Maximum bits per second in each direction; 8000 to 100000000000.</summary>
    public long? BandwidthBps { get; set; }

    /// <summary>Maximum bytes in both directions together, including the resolver's upstream packets.</summary>
    public long? QuotaBytes { get; set; }
}

/// <summary>Limits of a run. 0, null and absent mean the host's default.</summary>
internal sealed record LimitsBody
{
    /// <summary>The limits as they were read. The other members only describe them in the OpenAPI document.</summary>
    [JsonIgnore]
    public ResourceLimits Values { get; init; } = new();

    /// <summary>Processor time per wall-clock time, in cores; 0.01 to 1024, and at most the host's processors.</summary>
    public double? CpuCores { get; set; }

    /// <summary>Memory limit of the whole sandbox in MiB; 32 to 1048576.</summary>
    public int? MemoryMb { get; set; }

    /// <summary>Maximum number of processes and threads; 1 to 32768.</summary>
    public int? PidsLimit { get; set; }

    /// <summary>Seconds from the start of the command to its end; 0.001 to 86400.</summary>
    public double? WallClockSecs { get; set; }

    /// <summary>
    /// Seconds of processor time of the whole sandbox, on all cores together, from the start of the command to its end; 0.01 to 86400.
    /// Default: the host's default, else its max_limits, else no limit. A run that reaches it has status 200 and termination cpu_time_limit.
    /// </summary>
    public double? CpuTimeSecs { get; set; }

    /// <summary>Maximum number of open descriptors of one process; 8 to 1048576.</summary>
    public int? Nofile { get; set; }

    /// <summary>Size in MiB of /tmp, $HOME, /dev/shm, the workspace and /output together; 1 to 1048576. Their contents also count as memory.</summary>
    public int? DiskMb { get; set; }
}
