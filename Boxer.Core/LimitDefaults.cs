namespace Boxer;

/// <summary>The limits of a run for which neither its request nor <see cref="BoxerOptions.DefaultLimits"/> sets a value.</summary>
internal static class LimitDefaults
{
    /// <summary>Gets the limits, as a new copy.</summary>
    internal static ResourceLimits Values => new()
    {
        CpuCores = 1,
        MemoryBytes = 256 * ByteSize.MiB,
        Pids = 64,
        WallClock = TimeSpan.FromSeconds(30),
        CpuTime = null,
        OpenFiles = 256,
        DiskBytes = 128 * ByteSize.MiB,
        StandardOutputBytes = 10 * ByteSize.MiB,
        OutputFilesBytes = 64 * ByteSize.MiB,
        OutputFilesCount = 1_000,
    };
}
