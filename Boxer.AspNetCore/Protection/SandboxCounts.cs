namespace Boxer.AspNetCore.Protection;

/// <summary>Sandboxes that a runner with these options has at most.</summary>
/// <param name="Running">Sandboxes that run at once.</param>
/// <param name="Waiting">Sandboxes that were booted ahead.</param>
internal sealed record SandboxCounts(long Running, long Waiting)
{
    private const int ForEachProcessor = 4;

    public static SandboxCounts Of(BoxerOptions options) => new(
        options.MaxConcurrentRuns ?? Environment.ProcessorCount * ForEachProcessor,
        options.Pool.Enabled == false ? 0 : options.Pool.MaxSandboxes ?? Environment.ProcessorCount * ForEachProcessor);
}
