using Boxer.Images.Layers;

namespace Boxer.Validation;

/// <summary>How much of this machine's memory sandboxes may be promised together, and pulls may take, in bytes.</summary>
internal static class MemoryBudget
{
    // What the host itself needs in any case: its own programs, and what runs cost outside their sandboxes.
    private const long LeastReserve = 128 * ByteSize.MiB;
    private const int ReservedPart = 16;
    private const int PullPart = 16;
    private const long MostPullDefault = 512 * ByteSize.MiB;
    internal const long LeastPull = PullMemory.LeastBytes;
    internal const long MostPull = PullMemory.MostBytes;

    /// <summary>The most that the options may promise.</summary>
    /// <param name="machineBytes">Memory of the machine, or of the cgroup of this process.</param>
    internal static long Most(long machineBytes) => Math.Max(0, machineBytes - Math.Max(LeastReserve, machineBytes / ReservedPart));

    /// <summary>Memory that pulls may take together.</summary>
    /// <param name="options">The options.</param>
    /// <param name="machineBytes">Memory of the machine, or of the cgroup of this process.</param>
    internal static long OfPulls(BoxerOptions options, long machineBytes) =>
        options.PullMemoryBytes ?? Math.Clamp(Total(options, machineBytes) / PullPart, LeastPull, MostPullDefault);

    /// <summary>Memory that sandboxes may be promised together.</summary>
    /// <param name="options">The options.</param>
    /// <param name="machineBytes">Memory of the machine, or of the cgroup of this process.</param>
    internal static long Of(BoxerOptions options, long machineBytes) =>
        Math.Max(0, Total(options, machineBytes) - OfPulls(options, machineBytes));

    /// <summary>Memory that sandboxes and pulls may take together.</summary>
    /// <param name="options">The options.</param>
    /// <param name="machineBytes">Memory of the machine, or of the cgroup of this process.</param>
    internal static long Total(BoxerOptions options, long machineBytes) =>
        options.MaxMemoryBytes ?? Math.Min(machineBytes / 4 * 3, Most(machineBytes));
}
