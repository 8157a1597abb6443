using System.Diagnostics;
using Boxer.Diagnostics;
using Boxer.Runtime;

namespace Boxer.Running;

/// <summary>Measures the stages of one run, for its result, its activity and the histograms.</summary>
internal sealed class RunTrace : StageTrace
{
    /// <param name="metrics">The meter and the activity source.</param>
    /// <param name="time">The clock.</param>
    /// <param name="id">The identifier of the run.</param>
    internal RunTrace(BoxerMetrics metrics, TimeProvider time, string id)
        : base(metrics, time, "boxer.run") => Activity?.SetTag("boxer.run.id", id);

    /// <summary>Ends the trace of a run that came to its end.</summary>
    /// <param name="outcome">The outcome of the command.</param>
    /// <param name="imageDigest">The digest of the image.</param>
    /// <returns>The times of the stages.</returns>
    internal SandboxTimings End(CommandOutcome outcome, string imageDigest)
    {
        Record("run", outcome.RunTime);
        Record("outputs", outcome.OutputsTime);
        AddSpan("boxer.command", outcome.HandedOverAt, outcome.RunTime);
        AddSpan("boxer.outputs", outcome.HandedOverAt + outcome.RunTime, outcome.OutputsTime);
        TimeSpan total = Elapsed;
        Activity?.SetTag("boxer.image.digest", imageDigest);
        Activity?.SetTag("boxer.network", Network);
        Activity?.SetTag("boxer.termination", outcome.Termination.Kind.ToString());
        Metrics.RunEnded(outcome.Termination.Kind, Network, total);
        return new SandboxTimings
        {
            Queue = TimeOf("queue") + TimeOf("processors"),
            Image = TimeOf("image"),
            Network = TimeOf("network"),
            Sandbox = TimeOf("sandbox"),
            Run = outcome.RunTime,
            OutputFiles = outcome.OutputsTime,
            Cleanup = outcome.CleanupTime,
            Total = total,
        };
    }

    /// <summary>Ends the trace of a run that failed.</summary>
    /// <param name="exception">The failure.</param>
    internal override void Fail(Exception exception)
    {
        base.Fail(exception);
        Metrics.RunFailed(exception, Network, Elapsed);
    }

    private void AddSpan(string name, DateTimeOffset start, TimeSpan duration)
    {
        if (Activity is not null)
        {
            using Activity? span = Metrics.Activities.StartActivity(name, ActivityKind.Internal, Activity.Context, startTime: start);
            span?.SetEndTime((start + duration).UtcDateTime);
        }
    }
}
