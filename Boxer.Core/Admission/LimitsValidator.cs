namespace Boxer.Admission;

/// <summary>The range of every limit, for requests and for the defaults in the options.</summary>
internal static class LimitsValidator
{
    private const int MostMegabytes = 1 << 20;

    /// <summary>The defaults that <see cref="ResourceLimits"/> documents.</summary>
    internal static ResourceLimits BuiltIn { get; } = new()
    {
        CpuCores = 1,
        MemoryMegabytes = 256,
        Pids = 64,
        WallClock = TimeSpan.FromSeconds(30),
        OpenFiles = 256,
        DiskMegabytes = 128,
        StandardOutputBytes = 10 << 20,
        OutputFilesBytes = 64 << 20,
        OutputFilesCount = 1_000,
    };

    /// <summary><paramref name="limits"/>, and what is <see langword="null"/> there from <paramref name="defaults"/>.</summary>
    internal static ResourceLimits Fill(ResourceLimits limits, ResourceLimits defaults) => new()
    {
        CpuCores = limits.CpuCores ?? defaults.CpuCores,
        MemoryMegabytes = limits.MemoryMegabytes ?? defaults.MemoryMegabytes,
        Pids = limits.Pids ?? defaults.Pids,
        WallClock = limits.WallClock ?? defaults.WallClock,
        CpuTime = limits.CpuTime ?? defaults.CpuTime,
        OpenFiles = limits.OpenFiles ?? defaults.OpenFiles,
        DiskMegabytes = limits.DiskMegabytes ?? defaults.DiskMegabytes,
        StandardOutputBytes = limits.StandardOutputBytes ?? defaults.StandardOutputBytes,
        OutputFilesBytes = limits.OutputFilesBytes ?? defaults.OutputFilesBytes,
        OutputFilesCount = limits.OutputFilesCount ?? defaults.OutputFilesCount,
    };

    /// <summary>Finds the limits that are higher than a ceiling has them; <see langword="null"/> there is no ceiling.</summary>
    /// <param name="limits">The limits.</param>
    /// <param name="ceiling">The most of each.</param>
    /// <param name="prefix">What comes before the name of a field.</param>
    internal static IEnumerable<SandboxFault> FindAbove(ResourceLimits limits, ResourceLimits ceiling, string prefix)
    {
        SandboxFault?[] faults =
        [
            Above(nameof(limits.CpuCores), limits.CpuCores, ceiling.CpuCores, "cores"),
            Above(nameof(limits.MemoryMegabytes), limits.MemoryMegabytes, ceiling.MemoryMegabytes, "MiB"),
            Above(nameof(limits.Pids), limits.Pids, ceiling.Pids, "processes"),
            Above(nameof(limits.WallClock), limits.WallClock?.TotalSeconds, ceiling.WallClock?.TotalSeconds, "seconds"),
            Above(nameof(limits.CpuTime), limits.CpuTime?.TotalSeconds, ceiling.CpuTime?.TotalSeconds, "seconds"),
            Above(nameof(limits.OpenFiles), limits.OpenFiles, ceiling.OpenFiles, "descriptors"),
            Above(nameof(limits.DiskMegabytes), limits.DiskMegabytes, ceiling.DiskMegabytes, "MiB"),
            Above(nameof(limits.StandardOutputBytes), limits.StandardOutputBytes, ceiling.StandardOutputBytes, "bytes"),
            Above(nameof(limits.OutputFilesBytes), limits.OutputFilesBytes, ceiling.OutputFilesBytes, "bytes"),
            Above(nameof(limits.OutputFilesCount), limits.OutputFilesCount, ceiling.OutputFilesCount, "files"),
        ];
        return faults.OfType<SandboxFault>();

        SandboxFault? Above(string name, double? value, double? most, string unit) =>
            value > most ? new SandboxFault($"{prefix}.{name}", FormattableString.Invariant($"is {value}, but at most {most} {unit} are allowed here.")) : null;
    }

    /// <summary>Says that a limit asks for more processors than the machine has.</summary>
    internal static string TooManyCores(double cores, int processors) =>
        FormattableString.Invariant($"is {cores}, but this machine has {processors} processors; ask for at most {processors}.");

    /// <summary>Finds the limits that are out of range; <see langword="null"/> is in range.</summary>
    /// <param name="limits">The limits.</param>
    /// <param name="prefix">What comes before the name of a field.</param>
    internal static IEnumerable<SandboxFault> Validate(ResourceLimits limits, string prefix)
    {
        SandboxFault?[] faults =
        [
            Range(nameof(limits.CpuCores), limits.CpuCores, 0.01, 1_024, "cores"),
            Range(nameof(limits.MemoryMegabytes), limits.MemoryMegabytes, 32, MostMegabytes, "MiB"),
            Range(nameof(limits.Pids), limits.Pids, 1, 32_768, "processes"),
            Range(nameof(limits.WallClock), limits.WallClock?.TotalSeconds, 0.001, 86_400, "seconds"),
            Range(nameof(limits.CpuTime), limits.CpuTime?.TotalSeconds, 0.01, 86_400, "seconds"),
            Range(nameof(limits.OpenFiles), limits.OpenFiles, 8, 1 << 20, "descriptors"),
            Range(nameof(limits.DiskMegabytes), limits.DiskMegabytes, 1, MostMegabytes, "MiB"),
            Range(nameof(limits.StandardOutputBytes), limits.StandardOutputBytes, 1, 1 << 30, "bytes"),
            Range(nameof(limits.OutputFilesBytes), limits.OutputFilesBytes, 1, 64L << 30, "bytes"),
            Range(nameof(limits.OutputFilesCount), limits.OutputFilesCount, 1, 1_000_000, "files"),
        ];
        return faults.OfType<SandboxFault>();

        // Written so that NaN is out of range.
        SandboxFault? Range(string name, double? value, double least, double most, string unit) =>
            value is null || (value >= least && value <= most)
                ? null
                : new SandboxFault($"{prefix}.{name}", FormattableString.Invariant($"is {value}, but must be from {least} to {most} {unit}."));
    }
}
