using System.Text.Json.Serialization;

namespace Boxer.AspNetCore.Contracts;

/// <summary>A session.</summary>
internal sealed record SessionBody
{
    /// <summary>The identifier, which cannot be guessed.</summary>
    public required string Id { get; init; }

    /// <summary>State of the session: running (a call, a stream or a process), idle, paused or ended.</summary>
    public required string State { get; init; }

    /// <summary>The reason why the session ended; null while it is open.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public string? Ended { get; init; }

    /// <summary>Digest of the image's manifest.</summary>
    public required string ImageDigest { get; init; }

    /// <summary>Time of the opening.</summary>
    public required DateTimeOffset CreatedAt { get; init; }

    /// <summary>Time when the session ends if nothing happens; null while it is paused and after its end.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public DateTimeOffset? ExpiresAt { get; init; }

    /// <summary>Seconds after the end of the last call after which the session ends.</summary>
    public required double IdleTimeoutSecs { get; init; }

    /// <summary>Seconds from the opening, without paused time, after which the session ends.</summary>
    public required double LifetimeSecs { get; init; }

    /// <summary>The labels of the session.</summary>
    public required IReadOnlyDictionary<string, string> Labels { get; init; }

    /// <summary>Connections and names that the session was denied so far, most frequent first; at most 100. Only in GET /sessions/{id}.</summary>
    public IReadOnlyList<DenialBody>? NetworkDenied { get; init; }

    /// <summary>The reason why network_denied and network_usage are missing. Only in GET /sessions/{id}.</summary>
    public string? NetworkIncomplete { get; init; }

    /// <summary>Network traffic of the session so far, if the network mode counts it. Only in GET /sessions/{id}.</summary>
    public NetworkUsageBody? NetworkUsage { get; init; }

    public static SessionBody Of(ISandboxSession session) => new()
    {
        Id = session.Id,
        State = SessionNames.Of(session.State),
        Ended = session.End is { } end ? SessionNames.Of(end) : null,
        ImageDigest = session.ImageDigest,
        CreatedAt = session.CreatedAt,
        ExpiresAt = session.ExpiresAt,
        IdleTimeoutSecs = session.IdleTimeout.TotalSeconds,
        LifetimeSecs = session.Lifetime.TotalSeconds,
        Labels = session.Labels,
    };
}

/// <summary>A process of a session. Its environment is not part of any response.</summary>
internal sealed record ProcessBody
{
    /// <summary>Identifier of the process in its session. It is not the process id inside the sandbox.</summary>
    public required int Pid { get; init; }

    /// <summary>The program and its arguments.</summary>
    public required IReadOnlyList<string> Cmd { get; init; }

    /// <summary>Whether the process has a terminal.</summary>
    public required bool Terminal { get; init; }

    /// <summary>Time of the start.</summary>
    public required DateTimeOffset StartedAt { get; init; }

    /// <summary>How the process ended; null while it is alive.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public ProcessEndBody? Ended { get; init; }

    public static ProcessBody Of(ISandboxProcess process) => new()
    {
        Pid = process.Id,
        Cmd = process.Command,
        Terminal = process.IsTerminal,
        StartedAt = process.StartedAt,
        Ended = process.End is { } end ? ProcessEndBody.Of(end) : null,
    };
}

/// <summary>How a process ended: the data of the ended event.</summary>
internal sealed record ProcessEndBody
{
    /// <summary>The reason of the end.</summary>
    public required string Termination { get; init; }

    /// <summary>The exit code as a shell reports it: 128 + n for signal n, 127 or 126 if it was not started, 137 for every other end.</summary>
    public required int ExitCode { get; init; }

    /// <summary>Number of the signal that ended the process.</summary>
    public int? Signal { get; init; }

    /// <summary>A message, if the process neither exited nor was ended by a signal.</summary>
    public string? Error { get; init; }

    /// <summary>Number of processes of its POSIX session that were alive when it ended.</summary>
    public required int LeftBehind { get; init; }

    /// <summary>Resource usage of the process and the children that it waited for.</summary>
    public required UsageBody Usage { get; init; }

    /// <summary>The reason why the session ended, if it ended with the process. Only in the ended event.</summary>
    public string? SessionEnded { get; init; }

    public static ProcessEndBody Of(SandboxProcessEnd end)
    {
        Termination how = end.Termination;
        return new()
        {
            Termination = RunResponses.Name(how.Kind),
            ExitCode = new SandboxResult(how).ExitCode,
            Signal = how.Signal,
            Error = how.Kind is TerminationKind.Exited or TerminationKind.Signaled ? null : how.Message,
            LeftBehind = end.LeftBehind,
            Usage = RunResponses.Usage(end.Usage),
        };
    }
}

/// <summary>The data of the events stdout, stderr and output of a process.</summary>
/// <param name="Offset">Number of output bytes of the process before these, of all streams together. A larger offset than expected means that output in between was dropped.</param>
/// <param name="Text">The output. Bytes that are not valid UTF-8 are replaced by U+FFFD. A character is not split between two events, unless another stream is written in between.</param>
/// <param name="ContentBase64">The bytes in base64. Only if they are not valid UTF-8.</param>
internal sealed record ProcessOutputBody(long Offset, string Text, byte[]? ContentBase64);

/// <summary>The response of requests to a process.</summary>
/// <param name="Pid">Identifier of the process.</param>
internal sealed record PidBody(int Pid);

/// <summary>An entry of a directory.</summary>
/// <param name="Path">The path: relative to the listed directory, or as it was requested.</param>
/// <param name="Type">file, directory, symlink or other.</param>
/// <param name="Size">Size of a file in bytes; 0 for other entries.</param>
/// <param name="Mode">Permission bits in octal, such as 0644.</param>
/// <param name="ModifiedAt">Time of the last modification. Commands can set any time.</param>
internal sealed record EntryBody(string Path, string Type, long Size, string Mode, DateTimeOffset ModifiedAt)
{
    public static EntryBody Of(SandboxFileInfo entry) => new(entry.Path, SessionNames.Of(entry.Type), entry.Size, SessionNames.Of(entry.Mode), entry.ModifiedAt);
}

/// <summary>The data of the events of a watch.</summary>
/// <param name="Path">The path, relative to the watched directory; empty for the watched entry itself, and with the events started and overflow.</param>
internal sealed record FileChangeBody(string Path);

/// <summary>An error response of a request to a session, and the data of the error event.</summary>
internal sealed record SessionErrorBody
{
    /// <summary>The status. Only in the error event.</summary>
    public int? Status { get; init; }

    /// <summary>The fault and its remedy.</summary>
    public required string Error { get; init; }

    /// <summary>The reason why the session ended. Only with status 410.</summary>
    public string? Ended { get; init; }

    /// <summary>The state of the session. Only if it is the reason of the error: paused, with status 409.</summary>
    public string? State { get; init; }

    /// <summary>The reason why an operation on files failed in the sandbox.</summary>
    public string? Reason { get; init; }

    /// <summary>Number of bytes of the body that were written to the process: send the rest again. Only of POST stdin, if it failed.</summary>
    public long? Written { get; init; }

    /// <summary>The exit code that a shell reports for a program that cannot be started: 127 if it does not exist, otherwise 126. Only of POST processes.</summary>
    public int? ExitCode { get; init; }
}
