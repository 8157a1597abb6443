using System.Text.Unicode;
using Boxer.Networking;

namespace Boxer.AspNetCore.Running;

/// <summary>Maps the results of runs to responses.</summary>
internal static class RunResponses
{
    /// <summary>Names of all ends in bodies.</summary>
    internal static readonly string[] Terminations = [.. Enum.GetValues<TerminationKind>().Select(Name)];

    /// <summary>Gets the response for a result.</summary>
    /// <param name="result">The result.</param>
    /// <param name="outputs">Output files that were kept or are included.</param>
    /// <param name="outputsIncomplete">The reason why <paramref name="outputs"/> is incomplete, or <see langword="null"/>.</param>
    public static ApiResponse For(SandboxResult result, IReadOnlyList<OutputBody> outputs, string? outputsIncomplete)
    {
        Termination end = result.Termination;
        int status = end.Kind switch
        {
            TerminationKind.WallClockLimit => StatusCodes.Status408RequestTimeout,
            TerminationKind.OutputLimit => StatusCodes.Status507InsufficientStorage,
            TerminationKind.NotStarted => StatusCodes.Status400BadRequest,
            TerminationKind.SandboxDied => StatusCodes.Status500InternalServerError,
            _ => StatusCodes.Status200OK,
        };
        if (status != StatusCodes.Status200OK)
        {
            return new(status, null, Fill(new RunErrorBody { Error = end.Message }, result, outputs, outputsIncomplete));
        }

        RunResponseBody body = new()
        {
            ExitCode = result.ExitCode,
            Signal = end.Signal,
            Error = end.Kind is TerminationKind.Exited or TerminationKind.Signaled ? null : end.Message,
        };
        return new(status, Fill(body, result, outputs, outputsIncomplete), null);
    }

    /// <summary>Gets the memory that the response of a result needs, in bytes.</summary>
    public static long BytesOf(SandboxResult result) =>
        (long)result.StandardOutputBytes.Length + result.StandardErrorBytes.Length + result.WorkspaceChanges.Length + result.OutputFiles.Sum(file => (long)file.Content.Length);

    private static TBody Fill<TBody>(TBody body, SandboxResult result, IReadOnlyList<OutputBody> outputs, string? outputsIncomplete)
        where TBody : RunBody
    {
        return body with
        {
            ExecId = result.Id,
            Stdout = new PrintedText(result.StandardOutputBytes),
            Stderr = new PrintedText(result.StandardErrorBytes, LimitLine(result)),
            WallMs = (long)result.Timings.Run.TotalMilliseconds,
            Termination = Name(result.Termination.Kind),
            StdoutBase64 = Base64(result.StandardOutputBytes),
            StderrBase64 = Base64(result.StandardErrorBytes),
            Outputs = outputs,
            OutputsIncomplete = outputsIncomplete,
            OutputsDropped = result.OutputFilesDropped > 0 ? result.OutputFilesDropped : null,
            WorkspaceBase64 = result.WorkspaceChanges.IsEmpty ? null : new Base64Text(result.WorkspaceChanges),
            WorkspaceIncomplete = result.WorkspaceIncomplete,
            ImageDigest = result.ImageDigest,
            TimingsMs = Timings(result.Timings),
            Usage = Usage(result.Usage),
            UnenforcedLimits = result.UnenforcedLimits.Count > 0 ? [.. result.UnenforcedLimits.Select(FieldNames.OfLimit)] : null,
            NetworkDenied = Denied(result.Network),
            NetworkIncomplete = result.NetworkIncomplete,
            NetworkUsage = Usage(result.Network),
        };
    }

    /// <summary>Gets the line behind standard error that names the limit, for clients that show only the exit code and the two streams.</summary>
    private static string LimitLine(SandboxResult result)
    {
        Termination end = result.Termination;
        if (end.Kind is not (TerminationKind.MemoryLimit or TerminationKind.CpuTimeLimit or TerminationKind.PidsLimit))
        {
            return "";
        }

        string newline = result.StandardErrorBytes.IsEmpty || result.StandardErrorBytes.Span[^1] == (byte)'\n' ? "" : "\n";
        return $"{newline}boxer: {end.Message}\n";
    }

    private static TimingsBody Timings(SandboxTimings timings) =>
        new(
            Milliseconds(timings.Queue),
            Milliseconds(timings.Image),
            Milliseconds(timings.Network),
            Milliseconds(timings.Sandbox),
            Milliseconds(timings.Run),
            Milliseconds(timings.OutputFiles),
            Milliseconds(timings.Cleanup),
            Milliseconds(timings.Total));

    /// <summary>Gets the body of resource usage.</summary>
    public static UsageBody Usage(SandboxUsage usage) =>
        new(
            usage.Cpu is { } cpu ? Milliseconds(cpu) : null,
            usage.CommandCpu is { } command ? Milliseconds(command) : null,
            usage.SandboxCpu is { } sandbox ? Milliseconds(sandbox) : null,
            usage.PeakMemoryBytes,
            usage.MaxResidentBytes);

    /// <summary>Gets the denials of a report; null if there are none.</summary>
    public static IReadOnlyList<DenialBody>? Denied(NetworkReport network) =>
        network.Denied.Count > 0
            ? [.. network.Denied.Select(denial => new DenialBody(denial.Address, denial.Domain, denial.Port, denial.Protocol, denial.Count))]
            : null;

    /// <summary>Gets the traffic of a report; null if the mode does not count it.</summary>
    public static NetworkUsageBody? Usage(NetworkReport network) =>
        network is { BytesIn: { } received, BytesOut: { } sent } ? new NetworkUsageBody(received, sent) : null;

    /// <summary>Gets the name of an end in bodies.</summary>
    public static string Name(TerminationKind kind) =>
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
