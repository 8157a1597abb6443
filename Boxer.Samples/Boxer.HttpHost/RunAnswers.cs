using System.Text.Unicode;
using Boxer.HttpHost.Contracts;

namespace Boxer.HttpHost;

/// <summary>What each end of a run is answered with.</summary>
internal static class RunAnswers
{
    public static HttpAnswer For(SandboxResult result, IReadOnlyList<OutputBody> outputs, string? outputsIncomplete)
    {
        Termination end = result.Termination;
        return end.Kind switch
        {
            TerminationKind.WallClockLimit => Failed(StatusCodes.Status408RequestTimeout, end.Message),
            TerminationKind.OutputLimit => Failed(StatusCodes.Status507InsufficientStorage, end.Message),
            TerminationKind.NotStarted => Failed(StatusCodes.Status400BadRequest, end.Message),
            TerminationKind.SandboxDied => Failed(StatusCodes.Status500InternalServerError, end.Message),
            _ => new HttpAnswer(StatusCodes.Status200OK, Ended(result, outputs, outputsIncomplete), null),
        };

        HttpAnswer Failed(int status, string error) =>
            new(
                status,
                null,
                new ErrorBody
                {
                    Error = error,
                    ExecId = result.Id,
                    Stdout = result.Stdout,
                    Stderr = result.Stderr,
                    WallMs = (long)result.Timings.Run.TotalMilliseconds,
                    Termination = Name(end.Kind),
                    Outputs = outputs,
                    OutputsIncomplete = outputsIncomplete,
                    UnenforcedLimits = Unenforced(result),
                });
    }

    private static RunResponseBody Ended(SandboxResult result, IReadOnlyList<OutputBody> outputs, string? outputsIncomplete)
    {
        Termination end = result.Termination;
        string stderr = result.Stderr;
        if (end.Kind == TerminationKind.MemoryLimit)
        {
            // Clients that know nothing but the exit code and the two streams would otherwise show a bare 137.
            string newline = stderr.Length == 0 || stderr.EndsWith('\n') ? "" : "\n";
            stderr += $"{newline}boxer: {end.Message}\n";
        }

        return new RunResponseBody
        {
            ExecId = result.Id,
            ExitCode = result.ExitCode,
            Stdout = result.Stdout,
            Stderr = stderr,
            WallMs = (long)result.Timings.Run.TotalMilliseconds,
            Termination = Name(end.Kind),
            Signal = end.Signal,
            Error = end.Kind is TerminationKind.Exited or TerminationKind.Signaled ? null : end.Message,
            StdoutBase64 = Base64(result.StdoutBytes.Span),
            StderrBase64 = Base64(result.StderrBytes.Span),
            Outputs = outputs,
            OutputsIncomplete = outputsIncomplete,
            ImageDigest = result.ImageDigest,
            TimingsMs = new TimingsBody(
                Milliseconds(result.Timings.Queue),
                Milliseconds(result.Timings.Image),
                Milliseconds(result.Timings.Network),
                Milliseconds(result.Timings.Sandbox),
                Milliseconds(result.Timings.Run),
                Milliseconds(result.Timings.Outputs),
                Milliseconds(result.Timings.Cleanup),
                Milliseconds(result.Timings.Total)),
            Usage = new UsageBody(
                result.Usage.CommandCpu is { } command ? Milliseconds(command) : null,
                result.Usage.SandboxCpu is { } sandbox ? Milliseconds(sandbox) : null,
                result.Usage.PeakMemoryBytes),
            UnenforcedLimits = Unenforced(result),
            NetworkDenied = result.Network.Denied.Count > 0
                ? [.. result.Network.Denied.Select(denial => new DenialBody(denial.Address, denial.Domain, denial.Port, denial.Protocol, denial.Count))]
                : null,
            NetworkUsage = result.Network is { BytesIn: { } received, BytesOut: { } sent } ? new NetworkUsageBody(received, sent) : null,
        };
    }

    private static IReadOnlyList<string>? Unenforced(SandboxResult result) =>
        result.UnenforcedLimits.Count > 0 ? [.. result.UnenforcedLimits.Select(FieldNames.OfLimit)] : null;

    private static string Name(TerminationKind kind) =>
        kind switch
        {
            TerminationKind.Exited => "exited",
            TerminationKind.Signaled => "signaled",
            TerminationKind.WallClockLimit => "wall_clock_limit",
            TerminationKind.MemoryLimit => "memory_limit",
            TerminationKind.OutputLimit => "output_limit",
            TerminationKind.DiskLimit => "disk_limit",
            TerminationKind.NotStarted => "not_started",
            _ => "sandbox_died",
        };

    private static double Milliseconds(TimeSpan time) => Math.Round(time.TotalMilliseconds, 3);

    private static string? Base64(ReadOnlySpan<byte> bytes) => Utf8.IsValid(bytes) ? null : Convert.ToBase64String(bytes);
}
