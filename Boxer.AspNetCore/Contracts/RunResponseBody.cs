using Boxer.Images;
using Boxer.Native;
using Boxer.Runtime;

namespace Boxer.AspNetCore.Contracts;

/// <summary>A run that ended: the answer 200 of POST /run.</summary>
internal sealed record RunResponseBody
{
    /// <summary>The status that POST /run would have had; in the end event of POST /run/stream only.</summary>
    public int? Status { get; init; }

    /// <summary>The identifier of the run, boxer- and a UUID.</summary>
    public required string ExecId { get; init; }

    /// <summary>The exit code; 128 + n for signal n, 137 for the memory limit and the limit of processor time.</summary>
    public required int ExitCode { get; init; }

    /// <summary>Standard output; bytes that are not UTF-8 are U+FFFD.</summary>
    public required LargeText Stdout { get; init; }

    /// <summary>
    /// Standard error; bytes that are not UTF-8 are U+FFFD. After a memory or cpu-time limit its last line, which starts with "boxer:", says so.
    /// </summary>
    public required LargeText Stderr { get; init; }

    /// <summary>Milliseconds from the hand-over (putting files in included) to the end of the command.</summary>
    public required long WallMs { get; init; }

    /// <summary>Why the run ended: exited, signaled, cpu_time_limit, memory_limit, pids_limit or disk_limit.</summary>
    public required string Termination { get; init; }

    /// <summary>The number of the signal that ended the command.</summary>
    public int? Signal { get; init; }

    /// <summary>Why the run ended, in words, where a limit ended it.</summary>
    public string? Error { get; init; }

    /// <summary>Standard output as it was, in base64; only where it is not UTF-8.</summary>
    public LargeText? StdoutBase64 { get; init; }

    /// <summary>Standard error as it was, in base64; only where it is not UTF-8.</summary>
    public LargeText? StderrBase64 { get; init; }

    /// <summary>What the command wrote under /output and was kept, or comes with this answer; empty where neither was asked for.</summary>
    public required IReadOnlyList<OutputBody> Outputs { get; init; }

    /// <summary>Why outputs is not everything that was under /output.</summary>
    public string? OutputsIncomplete { get; init; }

    /// <summary>
    /// How many files and links were under /output and dropped, at least, because the request did not ask for them. Absent where there were
    /// none, and where the sandbox was destroyed before they could be counted.
    /// </summary>
    public long? OutputsDropped { get; init; }

    /// <summary>
    /// What the command changed or made in its workspace, as a tar archive in base64; only with workspace_out, and where there was any. Deletions are not reported. The archive is untrusted.
    /// </summary>
    public LargeText? WorkspaceBase64 { get; init; }

    /// <summary>Why workspace_base64 is not everything.</summary>
    public string? WorkspaceIncomplete { get; init; }

    /// <summary>The digest of the image's manifest.</summary>
    public required string ImageDigest { get; init; }

    /// <summary>Milliseconds of each stage.</summary>
    public required TimingsBody TimingsMs { get; init; }

    /// <summary>What the run used.</summary>
    public required UsageBody Usage { get; init; }

    /// <summary>Limits that this host cannot hold, or not as documented; only where it was configured to run without cgroups.</summary>
    public IReadOnlyList<string>? UnenforcedLimits { get; init; }

    /// <summary>What was refused to the run, the most frequent first; at most 100.</summary>
    public IReadOnlyList<DenialBody>? NetworkDenied { get; init; }

    /// <summary>Why network_denied and network_usage are not everything.</summary>
    public string? NetworkIncomplete { get; init; }

    /// <summary>What went over its network, where that is counted.</summary>
    public NetworkUsageBody? NetworkUsage { get; init; }
}

/// <summary>Something that a run tried to reach and was refused.</summary>
/// <param name="Address">The address; absent where a name was refused.</param>
/// <param name="Domain">The name, where it is known.</param>
/// <param name="Port">The port; 0 for protocols without ports.</param>
/// <param name="Protocol">tcp, udp, icmp, dns, or the number of another protocol.</param>
/// <param name="Count">How often.</param>
internal sealed record DenialBody(string? Address, string? Domain, int Port, string Protocol, long Count);

/// <summary>Bytes over the network of a run.</summary>
/// <param name="BytesIn">What came in.</param>
/// <param name="BytesOut">What went out.</param>
internal sealed record NetworkUsageBody(long BytesIn, long BytesOut);

/// <summary>A file that a run left.</summary>
/// <param name="Path">What GET /files takes: output/exec_id/path. Of one that comes with the answer: its path below /output.</param>
/// <param name="Size">Bytes.</param>
/// <param name="Mode">Its permission bits as the command set them, in octal, such as 0644.</param>
/// <param name="ModifiedAt">When it was modified, as the command says.</param>
/// <param name="ContentBase64">Its content; only with outputs inline.</param>
internal sealed record OutputBody(string Path, long Size, string? Mode, DateTimeOffset? ModifiedAt, LargeText? ContentBase64);

/// <summary>Milliseconds of each stage of a run.</summary>
/// <param name="Queue">Time spent waiting for a running slot, plus time spent waiting for processors with the sandbox ready.</param>
/// <param name="Image">Finding or pulling the image, and its root.</param>
/// <param name="Network">Preparing the network attachment.</param>
/// <param name="Sandbox">Booting the sandbox, or taking one that is booted.</param>
/// <param name="Run">From hand-over to the end of the command.</param>
/// <param name="Outputs">Bringing the files under /output out.</param>
/// <param name="Cleanup">The part of the clean-up that the answer waited for.</param>
/// <param name="Total">From the start of the run to its result.</param>
internal sealed record TimingsBody(
    double Queue, double Image, double Network, double Sandbox, double Run, double Outputs, double Cleanup, double Total);

/// <summary>Resource usage of a run, for every end. A value that this host cannot measure is left out.</summary>
/// <param name="CpuMs">Milliseconds of processor time: sandbox_cpu_ms, and without cgroups command_cpu_ms.</param>
/// <param name="CommandCpuMs">Of the command and its children, as the sandbox's kernel counted it.</param>
/// <param name="SandboxCpuMs">Of the whole sandbox from the start of the command to its end; what limits.cpu_time_secs bounds.</param>
/// <param name="PeakMemoryBytes">The most anonymous and shared memory of the whole sandbox: at least this much, as it is looked at now and then.</param>
/// <param name="MaxRssBytes">The largest resident set of any one process of the command.</param>
internal sealed record UsageBody(double? CpuMs, double? CommandCpuMs, double? SandboxCpuMs, long? PeakMemoryBytes, long? MaxRssBytes);

/// <summary>An answer that is not 200.</summary>
/// <param name="Error">What is wrong and what to do.</param>
internal sealed record ErrorBody(string Error);

/// <summary>An answer that is not 200 of a request that may have run: with what it printed, where it ran.</summary>
internal sealed record RunErrorBody
{
    /// <summary>The status that POST /run would have had; in the end event of POST /run/stream only.</summary>
    public int? Status { get; init; }

    /// <summary>What is wrong and what to do.</summary>
    public required string Error { get; init; }

    /// <summary>The identifier of the run, where it ran.</summary>
    public string? ExecId { get; init; }

    /// <summary>Standard output until the end, where it ran.</summary>
    public LargeText? Stdout { get; init; }

    /// <summary>Standard error until the end, where it ran.</summary>
    public LargeText? Stderr { get; init; }

    /// <summary>Standard output as it was, in base64; only where it is not UTF-8.</summary>
    public LargeText? StdoutBase64 { get; init; }

    /// <summary>Standard error as it was, in base64; only where it is not UTF-8.</summary>
    public LargeText? StderrBase64 { get; init; }

    /// <summary>Milliseconds from the hand-over (putting files in included) to the end of the command, where it ran.</summary>
    public long? WallMs { get; init; }

    /// <summary>Why the run ended, where it ran: wall_clock_limit, output_limit, not_started or sandbox_died.</summary>
    public string? Termination { get; init; }

    /// <summary>What the command wrote under /output and was kept, or comes with this answer.</summary>
    public IReadOnlyList<OutputBody>? Outputs { get; init; }

    /// <summary>Why outputs is not everything that was under /output.</summary>
    public string? OutputsIncomplete { get; init; }

    /// <summary>
    /// How many files and links were under /output and dropped, at least, because the request did not ask for them. Absent where there were
    /// none, and where the sandbox was destroyed before they could be counted.
    /// </summary>
    public long? OutputsDropped { get; init; }

    /// <summary>
    /// What the command changed or made in its workspace, as a tar archive in base64; only with workspace_out, and where there was any. Deletions are not reported. The archive is untrusted.
    /// </summary>
    public LargeText? WorkspaceBase64 { get; init; }

    /// <summary>Why workspace_base64 is not everything.</summary>
    public string? WorkspaceIncomplete { get; init; }

    /// <summary>The digest of the image's manifest, where it ran.</summary>
    public string? ImageDigest { get; init; }

    /// <summary>Milliseconds of each stage, where it ran.</summary>
    public TimingsBody? TimingsMs { get; init; }

    /// <summary>What the run used, where it ran.</summary>
    public UsageBody? Usage { get; init; }

    /// <summary>Limits that this host cannot hold, or not as documented, where it ran; only where it was configured to run without cgroups.</summary>
    public IReadOnlyList<string>? UnenforcedLimits { get; init; }

    /// <summary>What was refused to the run, where it ran, the most frequent first; at most 100.</summary>
    public IReadOnlyList<DenialBody>? NetworkDenied { get; init; }

    /// <summary>Why network_denied and network_usage are not everything, where it ran.</summary>
    public string? NetworkIncomplete { get; init; }

    /// <summary>What went over its network, where it ran and that is counted.</summary>
    public NetworkUsageBody? NetworkUsage { get; init; }
}

/// <summary>The data of the started event of POST /run/stream.</summary>
/// <param name="ExecId">The identifier of the run.</param>
internal sealed record StartedBody(string ExecId);

/// <summary>The data of the stdout and stderr events of POST /run/stream.</summary>
/// <param name="Text">What was printed; characters are never cut between two events.</param>
internal sealed record TextBody(string Text);

/// <summary>The answer of POST /files and DELETE /files.</summary>
/// <param name="Path">The path of the file.</param>
internal sealed record FileBody(string Path);

/// <summary>The answer of GET /healthz.</summary>
/// <param name="Ok">Always true: the host answers.</param>
internal sealed record HealthBody(bool Ok);

/// <summary>The answer of GET /health/ready.</summary>
/// <param name="Ready">Whether runs are taken.</param>
/// <param name="Checks">Each check by name: healthy, degraded or unhealthy, and why.</param>
internal sealed record ReadyBody(bool Ready, IReadOnlyDictionary<string, CheckBody> Checks);

/// <summary>One check.</summary>
/// <param name="Status">healthy, degraded or unhealthy.</param>
/// <param name="Description">Why.</param>
internal sealed record CheckBody(string Status, string? Description);
