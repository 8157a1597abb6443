namespace Boxer.Admission;

/// <summary>How much of this machine's memory sandboxes may be promised together, in MiB.</summary>
internal static class MemoryBudget
{
    // What the host itself needs in any case: its own programs, and what runs cost outside their sandboxes.
    private const long LeastReserve = 128;
    private const int ReservedPart = 16;

    /// <summary>The most that the options may promise.</summary>
    /// <param name="machineMegabytes">What the machine, or the cgroup of this process, has.</param>
    internal static long Most(long machineMegabytes) => Math.Max(0, machineMegabytes - Math.Max(LeastReserve, machineMegabytes / ReservedPart));

    /// <summary>What is promised.</summary>
    /// <param name="options">The options.</param>
    /// <param name="machineMegabytes">What the machine, or the cgroup of this process, has.</param>
    internal static long Of(BoxerOptions options, long machineMegabytes) => options.MaxMemoryMegabytes ?? Math.Min(machineMegabytes * 3 / 4, Most(machineMegabytes));
}
