using Boxer.Images.Layers;

namespace Boxer.Validation;

/// <summary>Divides this machine's memory between sandboxes, pulls and the host, in bytes.</summary>
internal static class MemoryBudget
{
    // The host always needs this much: for its own programs, and for the memory of runs outside their sandboxes.
    private const long LeastReserve = 128 * ByteSize.MiB;
    private const int ReservedPart = 16;
    private const int PullPart = 16;
    private const long MostPullDefault = 512 * ByteSize.MiB;

    /// <summary>Returns the maximum of <see cref="BoxerOptions.MaxMemoryBytes"/>: the machine's memory less the host's reserve.</summary>
    /// <param name="machineBytes">Memory of the machine, or of the cgroup of this process.</param>
    internal static long Most(long machineBytes) => Math.Max(0, machineBytes - Math.Max(LeastReserve, machineBytes / ReservedPart));

    /// <summary>Returns the maximum memory of all pulls together.</summary>
    /// <param name="options">The options.</param>
    /// <param name="machineBytes">Memory of the machine, or of the cgroup of this process.</param>
    internal static long OfPulls(BoxerOptions options, long machineBytes) =>
        options.PullMemoryBytes ?? Math.Clamp(Total(options, machineBytes) / PullPart, PullMemory.LeastBytes, MostPullDefault);

    /// <summary>Returns the memory that all sandboxes together may be promised.</summary>
    /// <param name="options">The options.</param>
    /// <param name="machineBytes">Memory of the machine, or of the cgroup of this process.</param>
    internal static long Of(BoxerOptions options, long machineBytes) =>
        Math.Max(0, Total(options, machineBytes) - OfPulls(options, machineBytes));

    /// <summary>Returns the maximum memory of sandboxes and pulls together.</summary>
    /// <param name="options">The options.</param>
    /// <param name="machineBytes">Memory of the machine, or of the cgroup of this process.</param>
    internal static long Total(BoxerOptions options, long machineBytes) =>
        options.MaxMemoryBytes ?? Math.Min(machineBytes / 4 * 3, Most(machineBytes));
}
