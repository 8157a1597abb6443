using System.Text.Unicode;
using Boxer.Images;
using Boxer.Native;
using Boxer.Runtime;

namespace Boxer.AspNetCore.Running;

/// <summary>What each end of a run is answered with.</summary>
internal static class RunResponses
{
    public static ApiResponse For(SandboxResult result, IReadOnlyList<OutputBody> outputs, string? outputsIncomplete)
    {
        Termination end = result.Termination;
        return end.Kind switch
        {
            TerminationKind.WallClockLimit => Failed(StatusCodes.Status408RequestTimeout, end.Message),
            TerminationKind.OutputLimit => Failed(StatusCodes.Status507InsufficientStorage, end.Message),
            TerminationKind.NotStarted => Failed(StatusCodes.Status400BadRequest, end.Message),
            TerminationKind.SandboxDied => Failed(StatusCodes.Status500InternalServerError, end.Message),
            _ => new ApiResponse(StatusCodes.Status200OK, Ended(result, outputs, outputsIncomplete), null),
        };

        ApiResponse Failed(int status, string error) =>
            new(
                status,
                null,
                new RunErrorBody
                {
                    Error = error,
                    ExecId = result.Id,
                    Stdout = new PrintedText(result.StandardOutputBytes),
                    Stderr = new PrintedText(result.StandardErrorBytes),
                    StdoutBase64 = Base64(result.StandardOutputBytes),
                    StderrBase64 = Base64(result.StandardErrorBytes),
                    WallMs = (long)result.Timings.Run.TotalMilliseconds,
                    Termination = Name(end.Kind),
                    Outputs = outputs,
                    OutputsIncomplete = outputsIncomplete,
                    OutputsDropped = Dropped(result),
                    WorkspaceBase64 = result.WorkspaceChanges.IsEmpty ? null : new Base64Text(result.WorkspaceChanges),
                    WorkspaceIncomplete = result.WorkspaceIncomplete,
                    ImageDigest = result.ImageDigest,
                    TimingsMs = Timings(result),
                    Usage = Usage(result),
                    UnenforcedLimits = Unenforced(result),
                    NetworkDenied = Denied(result),
                    NetworkIncomplete = result.NetworkIncomplete,
                    NetworkUsage = NetworkUsage(result),
                });
    }

    /// <summary>What an answer holds in memory.</summary>
    public static long BytesOf(SandboxResult result) =>
        (long)result.StandardOutputBytes.Length + result.StandardErrorBytes.Length + result.WorkspaceChanges.Length + result.OutputFiles.Sum(file => (long)file.Content.Length);

    private static RunResponseBody Ended(SandboxResult result, IReadOnlyList<OutputBody> outputs, string? outputsIncomplete)
    {
        Termination end = result.Termination;
        string tail = "";
        if (end.Kind is TerminationKind.MemoryLimit or TerminationKind.CpuTimeLimit or TerminationKind.PidsLimit)
        {
            // Clients that know nothing but the exit code and the two streams would otherwise show a bare 137.
            string newline = result.StandardErrorBytes.IsEmpty || result.StandardErrorBytes.Span[^1] == (byte)'\n' ? "" : "\n";
            tail = $"{newline}boxer: {end.Message}\n";
        }

        return new RunResponseBody
        {
            ExecId = result.Id,
            ExitCode = result.ExitCode,
            Stdout = new PrintedText(result.StandardOutputBytes),
            Stderr = new PrintedText(result.StandardErrorBytes, tail),
            WallMs = (long)result.Timings.Run.TotalMilliseconds,
            Termination = Name(end.Kind),
            Signal = end.Signal,
            Error = end.Kind is TerminationKind.Exited or TerminationKind.Signaled ? null : end.Message,
            StdoutBase64 = Base64(result.StandardOutputBytes),
            StderrBase64 = Base64(result.StandardErrorBytes),
            Outputs = outputs,
            OutputsIncomplete = outputsIncomplete,
            OutputsDropped = Dropped(result),
            WorkspaceBase64 = result.WorkspaceChanges.IsEmpty ? null : new Base64Text(result.WorkspaceChanges),
            WorkspaceIncomplete = result.WorkspaceIncomplete,
            ImageDigest = result.ImageDigest,
            TimingsMs = Timings(result),
            Usage = Usage(result),
            UnenforcedLimits = Unenforced(result),
            NetworkDenied = Denied(result),
            NetworkIncomplete = result.NetworkIncomplete,
            NetworkUsage = NetworkUsage(result),
        };
    }

    private static long? Dropped(SandboxResult result) => result.OutputFilesDropped > 0 ? result.OutputFilesDropped : null;

    private static TimingsBody Timings(SandboxResult result) =>
        new(
            Milliseconds(result.Timings.Queue),
            Milliseconds(result.Timings.Image),
            Milliseconds(result.Timings.Network),
            Milliseconds(result.Timings.Sandbox),
            Milliseconds(result.Timings.Run),
            Milliseconds(result.Timings.OutputFiles),
            Milliseconds(result.Timings.Cleanup),
            Milliseconds(result.Timings.Total));

    private static UsageBody Usage(SandboxResult result) =>
        new(
            result.Usage.Cpu is { } cpu ? Milliseconds(cpu) : null,
            result.Usage.CommandCpu is { } command ? Milliseconds(command) : null,
            result.Usage.SandboxCpu is { } sandbox ? Milliseconds(sandbox) : null,
            result.Usage.PeakMemoryBytes,
            result.Usage.MaxResidentBytes);

    private static IReadOnlyList<DenialBody>? Denied(SandboxResult result) =>
        result.Network.Denied.Count > 0
            ? [.. result.Network.Denied.Select(denial => new DenialBody(denial.Address, denial.Domain, denial.Port, denial.Protocol, denial.Count))]
            : null;

    private static NetworkUsageBody? NetworkUsage(SandboxResult result) =>
        result.Network is { BytesIn: { } received, BytesOut: { } sent } ? new NetworkUsageBody(received, sent) : null;

    private static IReadOnlyList<string>? Unenforced(SandboxResult result) =>
        result.UnenforcedLimits.Count > 0 ? [.. result.UnenforcedLimits.Select(FieldNames.OfLimit)] : null;

    private static string Name(TerminationKind kind) =>
        kind switch
        {
            TerminationKind.Exited => "exited",
            TerminationKind.Signaled => "signaled",
            TerminationKind.WallClockLimit => "wall_clock_limit",
            TerminationKind.CpuTimeLimit => "cpu_time_limit",
            TerminationKind.MemoryLimit => "memory_limit",
            TerminationKind.PidsLimit => "pids_limit",
            TerminationKind.OutputLimit => "output_limit",
            TerminationKind.DiskLimit => "disk_limit",
            TerminationKind.NotStarted => "not_started",
            _ => "sandbox_died",
        };

    private static double Milliseconds(TimeSpan time) => Math.Round(time.TotalMilliseconds, 3);

    private static Base64Text? Base64(ReadOnlyMemory<byte> bytes) => Utf8.IsValid(bytes.Span) ? null : new Base64Text(bytes);
}
