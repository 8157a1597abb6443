using System.Text.Json.Serialization;

namespace Boxer.AspNetCore.Contracts;

/// <summary>Members that the responses of all runs have. In an error response they are absent if the command did not run.</summary>
internal abstract record RunBody
{
    /// <summary>The status that POST /run would have returned. Only in the end event of POST /run/stream.</summary>
    [JsonPropertyOrder(-3)]
    public int? Status { get; init; }

    /// <summary>Identifier of the run: boxer- and a UUID.</summary>
    [JsonPropertyOrder(-1)]
    public string? ExecId { get; init; }

    /// <summary>Standard output. Bytes that are not valid UTF-8 are replaced by U+FFFD.</summary>
    public LargeText? Stdout { get; init; }

    /// <summary>
    /// Standard error. Bytes that are not valid UTF-8 are replaced by U+FFFD. With status 200, a run that a limit on memory, processor time or
    /// processes ended has a last line that starts with "boxer:" and names the limit.
    /// </summary>
    public LargeText? Stderr { get; init; }

    /// <summary>Milliseconds from the hand-over (including copying files in) to the end of the command.</summary>
    public long? WallMs { get; init; }

    /// <summary>The reason why the run ended.</summary>
    public string? Termination { get; init; }

    /// <summary>
    /// Number of processes that the command left behind: they go on, without its standard streams. Only for commands in sessions.
    /// </summary>
    public int? LeftBehind { get; init; }

    /// <summary>The bytes of standard output in base64. Only if they are not valid UTF-8.</summary>
    public LargeText? StdoutBase64 { get; init; }

    /// <summary>The bytes of standard error in base64. Only if they are not valid UTF-8.</summary>
    public LargeText? StderrBase64 { get; init; }

    /// <summary>Files under /output that were kept or are included in this response. Empty if neither was requested.</summary>
    public IReadOnlyList<OutputBody>? Outputs { get; init; }

    /// <summary>The reason why outputs does not contain everything under /output.</summary>
    public string? OutputsIncomplete { get; init; }

    /// <summary>
    /// Minimum number of files and links under /output that were dropped because the request did not ask for them. Absent if there were none, or if
    /// the sandbox was destroyed before they could be counted.
    /// </summary>
    public long? OutputsDropped { get; init; }

    /// <summary>
    /// Files that the command created or changed in its workspace, as a tar archive in base64. Only with workspace_out, and if there are any.
    /// Deletions are not reported. Treat the archive as untrusted.
    /// </summary>
    public LargeText? WorkspaceBase64 { get; init; }

    /// <summary>The reason why workspace_base64 is incomplete.</summary>
    public string? WorkspaceIncomplete { get; init; }

    /// <summary>Digest of the image's manifest.</summary>
    public string? ImageDigest { get; init; }

    /// <summary>Milliseconds of each stage.</summary>
    public TimingsBody? TimingsMs { get; init; }

    /// <summary>Resource usage of the run.</summary>
    public UsageBody? Usage { get; init; }

    /// <summary>Limits that this host cannot enforce as documented. Only if it is configured to run without cgroups.</summary>
    public IReadOnlyList<string>? UnenforcedLimits { get; init; }

    /// <summary>Connections and names that were denied, most frequent first; at most 100.</summary>
    public IReadOnlyList<DenialBody>? NetworkDenied { get; init; }

    /// <summary>The reason why network_denied and network_usage are incomplete.</summary>
    public string? NetworkIncomplete { get; init; }

    /// <summary>Network traffic of the run, if the network mode counts it.</summary>
    public NetworkUsageBody? NetworkUsage { get; init; }
}

/// <summary>The result of a run: the 200 response of POST /run.</summary>
internal sealed record RunResponseBody : RunBody
{
    /// <summary>The exit code. 128 + n for signal n; 137 if a limit on memory, processor time or processes ended the run.</summary>
    public required int ExitCode { get; init; }

    /// <summary>Number of the signal that ended the command.</summary>
    public int? Signal { get; init; }

    /// <summary>A message, if a limit ended the run.</summary>
    public string? Error { get; init; }
}

/// <summary>An error response of a request that may have run. The members of a run are absent if the command did not run.</summary>
internal sealed record RunErrorBody : RunBody
{
    /// <summary>The fault and its remedy.</summary>
    [JsonPropertyOrder(-2)]
    public required string Error { get; init; }

    /// <summary>The reason why the session ended. Only for commands in sessions, with status 410.</summary>
    [JsonPropertyOrder(-2)]
    public string? Ended { get; init; }

    /// <summary>The state of the session, if it is the reason of the error: paused, with status 409. Only for commands in sessions.</summary>
    [JsonPropertyOrder(-2)]
    public string? State { get; init; }
}

/// <summary>A destination that a run tried to reach and that was denied.</summary>
/// <param name="Address">The address; absent if a name was denied.</param>
/// <param name="Domain">The name, if it is known.</param>
/// <param name="Port">The port; 0 for protocols without ports.</param>
/// <param name="Protocol">tcp, udp, icmp, dns, or the number of another protocol.</param>
/// <param name="Count">Number of attempts.</param>
internal sealed record DenialBody(string? Address, string? Domain, int Port, string Protocol, long Count);

/// <summary>Network traffic of a run.</summary>
/// <param name="BytesIn">Bytes received.</param>
/// <param name="BytesOut">Bytes sent.</param>
internal sealed record NetworkUsageBody(long BytesIn, long BytesOut);

/// <summary>A file that a run wrote under /output.</summary>
/// <param name="Path">The path for GET /files: output/exec_id/path. With outputs inline, the path below /output.</param>
/// <param name="Size">Size in bytes.</param>
/// <param name="Mode">Permission bits as the command set them, in octal, such as 0644.</param>
/// <param name="ModifiedAt">Time of the last modification, as the command set it.</param>
/// <param name="ContentBase64">The content in base64. Only with outputs inline.</param>
internal sealed record OutputBody(string Path, long Size, string? Mode, DateTimeOffset? ModifiedAt, LargeText? ContentBase64);

/// <summary>Milliseconds of each stage of a run.</summary>
/// <param name="Queue">Time spent waiting for a running slot, plus time spent waiting for processors after the sandbox was ready.</param>
/// <param name="Image">Finding or pulling the image, and preparing its root file system.</param>
/// <param name="Network">Preparing the network attachment.</param>
/// <param name="Sandbox">Booting the sandbox, or taking one from the pool.</param>
/// <param name="Run">From hand-over to the end of the command.</param>
/// <param name="Outputs">Copying the files under /output out.</param>
/// <param name="Cleanup">Clean-up that the response waited for.</param>
/// <param name="Total">From the start of the run to its result.</param>
internal sealed record TimingsBody(
    double Queue, double Image, double Network, double Sandbox, double Run, double Outputs, double Cleanup, double Total);

/// <summary>Resource usage of a run, whatever ended it. Values that this host cannot measure are absent.</summary>
/// <param name="CpuMs">Milliseconds of processor time: sandbox_cpu_ms, or command_cpu_ms if the host has no cgroups.</param>
/// <param name="CommandCpuMs">Milliseconds of processor time of the command and its children, as counted by the sandbox's kernel.</param>
/// <param name="SandboxCpuMs">Milliseconds of processor time of the whole sandbox from the start of the command to its end; limits.cpu_time_secs limits it.</param>
/// <param name="PeakMemoryBytes">Peak of anonymous and shared memory of the whole sandbox. It is sampled, so the true peak may be higher.</param>
/// <param name="MaxRssBytes">Largest resident set of any single process of the command.</param>
internal sealed record UsageBody(double? CpuMs, double? CommandCpuMs, double? SandboxCpuMs, long? PeakMemoryBytes, long? MaxRssBytes);

/// <summary>An error response.</summary>
/// <param name="Error">The fault and its remedy.</param>
internal sealed record ErrorBody(string Error);

/// <summary>The data of the started event of POST /run/stream.</summary>
/// <param name="ExecId">Identifier of the run.</param>
internal sealed record StartedBody(string ExecId);

/// <summary>The data of the stdout and stderr events of POST /run/stream.</summary>
/// <param name="Text">The output. A character is never split between two events.</param>
internal sealed record TextBody(string Text);

/// <summary>The response of POST /files and DELETE /files.</summary>
/// <param name="Path">The path of the file.</param>
internal sealed record FileBody(string Path);

/// <summary>The response of GET /healthz.</summary>
/// <param name="Ok">Always true.</param>
internal sealed record HealthBody(bool Ok);

/// <summary>The response of GET /health/ready.</summary>
/// <param name="Ready">Whether the host accepts runs.</param>
/// <param name="Checks">The checks by name.</param>
internal sealed record ReadyBody(bool Ready, IReadOnlyDictionary<string, CheckBody> Checks);

/// <summary>A health check.</summary>
/// <param name="Status">healthy, degraded or unhealthy.</param>
/// <param name="Description">The reason, if there is one.</param>
internal sealed record CheckBody(string Status, string? Description);
