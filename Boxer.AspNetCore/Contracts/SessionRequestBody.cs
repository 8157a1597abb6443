namespace Boxer.AspNetCore.Contracts;

/// <summary>The body of POST /sessions. Unknown names are rejected.</summary>
internal sealed record SessionRequestBody
{
    /// <summary>An image reference as Docker writes it, such as python:3.12-slim. Its Entrypoint and Cmd are not run.</summary>
    public required string Image { get; set; }

    /// <summary>none or sandbox. Default: none.</summary>
    public string? Network { get; set; }

    /// <summary>
    /// Destinations that the session may reach with the network sandbox. It can only restrict the host's policy. The quota is that of the whole session.
    /// Default: the host's policy.
    /// </summary>
    public EgressBody? Egress { get; set; }

    /// <summary>
    /// Limits of the sandbox, and default limits of its commands. Default: the host's limits. Processors, memory and disk are those of the whole session.
    /// </summary>
    public LimitsBody? Limits { get; set; }

    /// <summary>Environment variables of every command, as NAME=value or as an object of names and values. They are added to the image's.</summary>
    public IReadOnlyList<string>? Env { get; set; }

    /// <summary>A user name, a uid, or uid:gid. Default: the image's, else 65534.</summary>
    public string? User { get; set; }

    /// <summary>
    /// Absolute path of the directory that commands start in and that relative paths of files start at; created if it does not exist. Default: the
    /// workspace, else the image's unless it is /, else the home of the user.
    /// </summary>
    public string? Cwd { get; set; }

    /// <summary>A directory with files that the commands can write. Default: none.</summary>
    public WorkspaceBody? Workspace { get; set; }

    /// <summary>Paths of uploaded files. Each appears at /path: readable and executable; only user 0 can write it.</summary>
    public IReadOnlyList<string>? Files { get; set; }

    /// <summary>Small files in the request itself. Each appears at /path: readable, executable if it says so; only user 0 can write it. At most 1000.</summary>
    public IReadOnlyList<InputBody>? Inputs { get; set; }

    /// <summary>Whether the uploads that the session used are kept after it was opened. Default: false.</summary>
    public bool? Persist { get; set; }

    /// <summary>When to contact the registry: missing (if the image is not in the local store), always or never. Default: the host's setting.</summary>
    public string? Pull { get; set; }

    /// <summary>
    /// Labels for the client's own use: at most 16, with names of 1 to 64 bytes and values of at most 256 bytes. The sandbox does not see them. Default: none.
    /// </summary>
    public IReadOnlyDictionary<string, string>? Labels { get; set; }

    /// <summary>Seconds after the end of the last call after which the session ends; 1 to 604800. Default: the host's, 300.</summary>
    public double? IdleTimeoutSecs { get; set; }

    /// <summary>Seconds from the opening, without paused time, after which the session ends; 1 to 604800. Default: the host's, 3600.</summary>
    public double? LifetimeSecs { get; set; }
}

/// <summary>The body of PATCH /sessions/{id}. Absent members stay as they are.</summary>
internal sealed record SessionTimesBody
{
    /// <summary>Seconds after the end of the last call after which the session ends; 1 to 604800.</summary>
    public double? IdleTimeoutSecs { get; set; }

    /// <summary>Seconds from the opening, without paused time, after which the session ends; 1 to 604800. A time that has passed ends the session.</summary>
    public double? LifetimeSecs { get; set; }
}

/// <summary>The body of POST /sessions/{id}/exec and /exec/stream. Unknown names are rejected.</summary>
internal sealed record ExecRequestBody
{
    /// <summary>The program and its arguments; at least one item.</summary>
    public required IReadOnlyList<string> Cmd { get; set; }

    /// <summary>Environment variables of this command, as NAME=value or as an object of names and values. They are added to the session's.</summary>
    public IReadOnlyList<string>? Env { get; set; }

    /// <summary>Path of the working directory, which must exist: absolute, or relative to the session's. Default: the session's.</summary>
    public string? Cwd { get; set; }

    /// <summary>
    /// Limits of this command: wall_clock_secs, cpu_time_secs (of its processes), nofile and pids_limit. The others are those of the session. Default: the
    /// session's.
    /// </summary>
    public LimitsBody? Limits { get; set; }

    /// <summary>Text for the command's standard input. Default: empty.</summary>
    public string? Stdin { get; set; }

    /// <summary>Bytes for the command's standard input, in base64. Instead of stdin.</summary>
    public byte[]? StdinBase64 { get; set; }

    /// <summary>Whether standard error is written to standard output, in order, as with 2&gt;&amp;1 in a shell. Default: false.</summary>
    public bool? MergeStderr { get; set; }

    /// <summary>
    /// Milliseconds that the command has to end after it was asked to: at its wall-clock limit, when the client disconnects, or when the host stops. The
    /// image's StopSignal, else SIGTERM, is sent to the process group; its processes are killed after this time. 0 to 60000. Default: 0, which kills them
    /// at once.
    /// </summary>
    public int? StopGraceMs { get; set; }

    /// <summary>A user name, a uid, or uid:gid. Default: the session's.</summary>
    public string? User { get; set; }
}

/// <summary>The body of POST /sessions/{id}/processes. Unknown names are rejected.</summary>
internal sealed record ProcessRequestBody
{
    /// <summary>The program and its arguments; at least one item.</summary>
    public required IReadOnlyList<string> Cmd { get; set; }

    /// <summary>Path of the working directory, which must exist: absolute, or relative to the session's. Default: the session's.</summary>
    public string? Cwd { get; set; }

    /// <summary>Environment variables of this process, as NAME=value or as an object of names and values. They are added to the session's.</summary>
    public IReadOnlyList<string>? Env { get; set; }

    /// <summary>A user name, a uid, or uid:gid. Default: the session's.</summary>
    public string? User { get; set; }

    /// <summary>Limits of this process, as those of a command. Without wall_clock_secs and cpu_time_secs its time is not limited.</summary>
    public LimitsBody? Limits { get; set; }

    /// <summary>Whether standard error is written to standard output, in order. Default: false.</summary>
    public bool? MergeStderr { get; set; }

    /// <summary>A terminal instead of the three standard streams. Default: none.</summary>
    public TerminalBody? Terminal { get; set; }
}

/// <summary>Size of a terminal of a run or a process, and the body of POST /sessions/{id}/processes/{pid}/resize.</summary>
internal sealed record TerminalBody
{
    /// <summary>Columns; 1 to 65535.</summary>
    public required int Cols { get; set; }

    /// <summary>Rows; 1 to 65535.</summary>
    public required int Rows { get; set; }
}

/// <summary>The body of POST /sessions/{id}/processes/{pid}/signal.</summary>
internal sealed record SignalBody
{
    /// <summary>The signal, by name or number: SIGTERM, TERM or 15. It is sent to the process group.</summary>
    public required int Signal { get; set; }
}

/// <summary>The body of POST /sessions/{id}/files/move.</summary>
internal sealed record MoveBody
{
    /// <summary>Path of the file, directory or link.</summary>
    public required string From { get; set; }

    /// <summary>The new path. Its directory must exist. A file there is replaced.</summary>
    public required string To { get; set; }
}

/// <summary>The body of POST /sessions/{id}/files/mkdir.</summary>
internal sealed record DirectoryBody
{
    /// <summary>Path of the directory. Missing directories of the path are created too.</summary>
    public required string Path { get; set; }
}
