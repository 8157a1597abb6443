namespace Boxer.Validation;

/// <summary>The range of every limit, for requests and for the defaults in the options.</summary>
internal static class LimitsValidator
{
    /// <summary>The defaults that <see cref="ResourceLimits"/> documents.</summary>
    internal static ResourceLimits BuiltIn { get; } = new()
    {
        CpuCores = 1,
        MemoryBytes = 256 * ByteSize.MiB,
        Pids = 64,
        WallClock = TimeSpan.FromSeconds(30),
        OpenFiles = 256,
        DiskBytes = 128 * ByteSize.MiB,
        StandardOutputBytes = 10 * ByteSize.MiB,
        OutputFilesBytes = 64 * ByteSize.MiB,
        OutputFilesCount = 1_000,
    };

    /// <summary><paramref name="limits"/>, and what is <see langword="null"/> there from <paramref name="defaults"/>.</summary>
    internal static ResourceLimits Fill(ResourceLimits limits, ResourceLimits defaults) => new()
    {
        CpuCores = limits.CpuCores ?? defaults.CpuCores,
        MemoryBytes = limits.MemoryBytes ?? defaults.MemoryBytes,
        Pids = limits.Pids ?? defaults.Pids,
        WallClock = limits.WallClock ?? defaults.WallClock,
        CpuTime = limits.CpuTime ?? defaults.CpuTime,
        OpenFiles = limits.OpenFiles ?? defaults.OpenFiles,
        DiskBytes = limits.DiskBytes ?? defaults.DiskBytes,
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
            AboveSize(nameof(limits.MemoryBytes), limits.MemoryBytes, ceiling.MemoryBytes),
            Above(nameof(limits.Pids), limits.Pids, ceiling.Pids, "processes"),
            Above(nameof(limits.WallClock), limits.WallClock?.TotalSeconds, ceiling.WallClock?.TotalSeconds, "seconds"),
            Above(nameof(limits.CpuTime), limits.CpuTime?.TotalSeconds, ceiling.CpuTime?.TotalSeconds, "seconds"),
            Above(nameof(limits.OpenFiles), limits.OpenFiles, ceiling.OpenFiles, "descriptors"),
            AboveSize(nameof(limits.DiskBytes), limits.DiskBytes, ceiling.DiskBytes),
            AboveSize(nameof(limits.StandardOutputBytes), limits.StandardOutputBytes, ceiling.StandardOutputBytes),
            AboveSize(nameof(limits.OutputFilesBytes), limits.OutputFilesBytes, ceiling.OutputFilesBytes),
            Above(nameof(limits.OutputFilesCount), limits.OutputFilesCount, ceiling.OutputFilesCount, "files"),
        ];
        return faults.OfType<SandboxFault>();

        SandboxFault? Above(string name, double? value, double? most, string unit) =>
            value > most ? new SandboxFault($"{prefix}.{name}", FormattableString.Invariant($"is {value}, but at most {most} {unit} are allowed here.")) : null;

        SandboxFault? AboveSize(string name, long? value, long? most) =>
            value > most ? new SandboxFault($"{prefix}.{name}", $"is {ByteSize.Format(value.Value)}, but at most {ByteSize.Format(most.Value)} are allowed here.") : null;
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
            Size(nameof(limits.MemoryBytes), limits.MemoryBytes, 32 * ByteSize.MiB, ByteSize.TiB),
            Range(nameof(limits.Pids), limits.Pids, 1, 32_768, "processes"),
            Range(nameof(limits.WallClock), limits.WallClock?.TotalSeconds, 0.001, 86_400, "seconds"),
            Range(nameof(limits.CpuTime), limits.CpuTime?.TotalSeconds, 0.01, 86_400, "seconds"),
            Range(nameof(limits.OpenFiles), limits.OpenFiles, 8, 1 << 20, "descriptors"),
            Size(nameof(limits.DiskBytes), limits.DiskBytes, ByteSize.MiB, ByteSize.TiB),
            Size(nameof(limits.StandardOutputBytes), limits.StandardOutputBytes, 1, ByteSize.GiB),
            Size(nameof(limits.OutputFilesBytes), limits.OutputFilesBytes, 1, 64 * ByteSize.GiB),
            Range(nameof(limits.OutputFilesCount), limits.OutputFilesCount, 1, 1_000_000, "files"),
        ];
        return faults.OfType<SandboxFault>();

        // Written so that NaN is out of range.
        SandboxFault? Range(string name, double? value, double least, double most, string unit) =>
            value is null || (value >= least && value <= most)
                ? null
                : new SandboxFault($"{prefix}.{name}", FormattableString.Invariant($"is {value}, but must be from {least} to {most} {unit}."));

        SandboxFault? Size(string name, long? value, long least, long most) =>
            value < least || value > most ? new SandboxFault($"{prefix}.{name}", $"is {ByteSize.Format(value.Value)}, but must be from {ByteSize.Format(least)} to {ByteSize.Format(most)}.") : null;
    }
}
