namespace Boxer.Admission;

/// <summary>How much of this machine's memory sandboxes may be promised together, and pulls may take, in MiB.</summary>
internal static class MemoryBudget
{
    // What the host itself needs in any case: its own programs, and what runs cost outside their sandboxes.
    private const long LeastReserve = 128;
    private const int ReservedPart = 16;
    private const int PullPart = 16;
    private const int MostPullDefault = 512;
    internal const int LeastPull = (int)(Images.PullMemory.LeastBytes >> 20);
    internal const int MostPull = (int)(Images.PullMemory.MostBytes >> 20);

    /// <summary>The most that the options may promise.</summary>
    /// <param name="machineMegabytes">Memory (MiB) of the machine, or of the cgroup of this process.</param>
    internal static long Most(long machineMegabytes) => Math.Max(0, machineMegabytes - Math.Max(LeastReserve, machineMegabytes / ReservedPart));

    /// <summary>Memory that pulls may take together.</summary>
    /// <param name="options">The options.</param>
    /// <param name="machineMegabytes">Memory (MiB) of the machine, or of the cgroup of this process.</param>
    internal static long OfPulls(BoxerOptions options, long machineMegabytes) =>
        options.PullMemoryMegabytes ?? Math.Clamp(Total(options, machineMegabytes) / PullPart, LeastPull, MostPullDefault);

    /// <summary>Memory that sandboxes may be promised together.</summary>
    /// <param name="options">The options.</param>
    /// <param name="machineMegabytes">Memory (MiB) of the machine, or of the cgroup of this process.</param>
    internal static long Of(BoxerOptions options, long machineMegabytes) =>
        Math.Max(0, Total(options, machineMegabytes) - OfPulls(options, machineMegabytes));

    private static long Total(BoxerOptions options, long machineMegabytes) =>
        options.MaxMemoryMegabytes ?? Math.Min(machineMegabytes * 3 / 4, Most(machineMegabytes));
}
