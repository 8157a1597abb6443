using System.Globalization;

namespace Boxer;

/// <summary>How long each stage of a run took.</summary>
public sealed class SandboxTimings
{
    /// <summary>Time spent waiting for a running slot, plus time spent waiting for processors with the sandbox ready.</summary>
    public TimeSpan Queue { get; init; }

    /// <summary>Finding or pulling the image, and its root.</summary>
    public TimeSpan Image { get; init; }

    /// <summary>Preparing the network attachment; for a pooled sandbox, applying the policy of the run to it.</summary>
    public TimeSpan Network { get; init; }

    /// <summary>Booting the sandbox; 0 where a pooled one was taken.</summary>
    public TimeSpan Sandbox { get; init; }

    /// <summary>From hand-over to the end of the command; <see cref="ResourceLimits.WallClock"/> bounds it from the start of the command on.</summary>
    public TimeSpan Run { get; init; }

    /// <summary>Bringing the files under <c>/output</c> and the changes of the workspace out.</summary>
    public TimeSpan OutputFiles { get; init; }

    /// <summary>
    /// The part of the clean-up that the result waited for: draining the pipes. The sandbox itself is destroyed off the caller's path; how long that
    /// takes is in the <c>boxer.stage.duration</c> histogram.
    /// </summary>
    public TimeSpan Cleanup { get; init; }

    /// <summary>From the call to the result.</summary>
    public TimeSpan Total { get; init; }

    /// <summary>Returns each stage in milliseconds.</summary>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"queue {Queue.TotalMilliseconds:0.###}, image {Image.TotalMilliseconds:0.###}, network {Network.TotalMilliseconds:0.###}, sandbox {Sandbox.TotalMilliseconds:0.###}, run {Run.TotalMilliseconds:0.###}, output files {OutputFiles.TotalMilliseconds:0.###}, cleanup {Cleanup.TotalMilliseconds:0.###}, total {Total.TotalMilliseconds:0.###} ms");
}
