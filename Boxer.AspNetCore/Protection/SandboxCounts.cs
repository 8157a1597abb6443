using Boxer.Runtime.Cgroups;
using Boxer.Validation;

namespace Boxer.AspNetCore.Protection;

/// <summary>Maximum numbers of sandboxes of a runner with certain options.</summary>
/// <param name="Running">Sandboxes that run commands at the same time.</param>
/// <param name="Pooled">Booted sandboxes in the pool.</param>
/// <param name="Sessions">Open sessions, if each has the least memory.</param>
internal sealed record SandboxCounts(long Running, long Pooled, long Sessions)
{
    private const int PerProcessor = 4;

    public static SandboxCounts Of(BoxerOptions options) => new(
        options.MaxConcurrentRuns ?? Environment.ProcessorCount * PerProcessor,
        options.Pool.Enabled == false ? 0 : options.Pool.MaxSandboxes ?? Environment.ProcessorCount * PerProcessor,
        CheckedOptions.SessionMemoryOf(options, MemoryBudget.Of(options, MachineMemory.ReadBytes())) / (long)SettingTable.BuiltIn.Limits.First(limit => limit.Name == nameof(ResourceLimits.MemoryBytes)).Least!);
}
