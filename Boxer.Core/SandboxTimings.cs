using System.Globalization;

namespace Boxer;

/// <summary>Duration of each stage of a run.</summary>
public sealed class SandboxTimings
{
    /// <summary>Time spent waiting for a running slot, plus time spent waiting for processors with the sandbox ready.</summary>
    public TimeSpan Queue { get; init; }

    /// <summary>Time to find or pull the image and to prepare its root file system.</summary>
    public TimeSpan Image { get; init; }

    /// <summary>Time to prepare the network attachment; for a pooled sandbox, to apply the run's policy to it.</summary>
    public TimeSpan Network { get; init; }

    /// <summary>Time to boot the sandbox; 0 for a pooled sandbox.</summary>
    public TimeSpan Sandbox { get; init; }

    /// <summary>Time from hand-over to the end of the command. <see cref="ResourceLimits.WallClock"/> bounds it from the start of the command.</summary>
    public TimeSpan Run { get; init; }

    /// <summary>Time to collect the files under <c>/output</c> and the changes of the workspace.</summary>
    public TimeSpan OutputFiles { get; init; }

    /// <summary>
    /// Time of the clean-up that the result waited for: draining the pipes. The sandbox itself is destroyed in the background; the
    /// <c>boxer.stage.duration</c> histogram has the time that takes.
    /// </summary>
    public TimeSpan Cleanup { get; init; }

    /// <summary>Time from the call to the result.</summary>
    public TimeSpan Total { get; init; }

    /// <summary>Returns each duration in milliseconds.</summary>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"queue {Queue.TotalMilliseconds:0.###}, image {Image.TotalMilliseconds:0.###}, network {Network.TotalMilliseconds:0.###}, sandbox {Sandbox.TotalMilliseconds:0.###}, run {Run.TotalMilliseconds:0.###}, output files {OutputFiles.TotalMilliseconds:0.###}, cleanup {Cleanup.TotalMilliseconds:0.###}, total {Total.TotalMilliseconds:0.###} ms");
}
