using System.Diagnostics;
using Boxer.Diagnostics;
using Boxer.Runtime;

namespace Boxer.Running;

/// <summary>Measures the stages of one run, for its result, its activity and the histograms.</summary>
internal sealed class RunTrace : IDisposable
{
    private readonly BoxerMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly string _id;
    private readonly long _start;
    private readonly Activity? _activity;
    private readonly Dictionary<string, TimeSpan> _stages = new(StringComparer.Ordinal);

    /// <param name="metrics">The meter and the activity source.</param>
    /// <param name="time">The clock.</param>
    /// <param name="id">The identifier of the run.</param>
    internal RunTrace(BoxerMetrics metrics, TimeProvider time, string id)
    {
        _metrics = metrics;
        _time = time;
        _id = id;
        _start = time.GetTimestamp();
        _activity = metrics.Activities.StartActivity("boxer.run");
        _activity?.SetTag("boxer.run.id", id);
    }

    /// <summary>Name of the network mode. Set it after validation: text of a request must not become a tag of a metric.</summary>
    internal string Network { get; set; } = "unknown";

    /// <summary>Runs and measures one stage.</summary>
    /// <param name="stage">The name of the stage.</param>
    /// <param name="action">The stage.</param>
    internal async Task<T> StageAsync<T>(string stage, Func<Task<T>> action)
    {
        long start = _time.GetTimestamp();
        using Activity? activity = _metrics.Activities.StartActivity("boxer." + stage);
        try
        {
            return await action().ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            activity?.SetStatus(ActivityStatusCode.Error, exception.Message);
            throw;
        }
        finally
        {
            Record(stage, _time.GetElapsedTime(start));
        }
    }

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
        TimeSpan total = _time.GetElapsedTime(_start);
        _activity?.SetTag("boxer.image.digest", imageDigest);
        _activity?.SetTag("boxer.network", Network);
        _activity?.SetTag("boxer.termination", outcome.Termination.Kind.ToString());
        _metrics.RunEnded(outcome.Termination.Kind, Network, total);
        return new SandboxTimings
        {
            Queue = _stages.GetValueOrDefault("queue") + _stages.GetValueOrDefault("processors"),
            Image = _stages.GetValueOrDefault("image"),
            Network = _stages.GetValueOrDefault("network"),
            Sandbox = _stages.GetValueOrDefault("sandbox"),
            Run = outcome.RunTime,
            OutputFiles = outcome.OutputsTime,
            Cleanup = outcome.CleanupTime,
            Total = total,
        };
    }

    /// <summary>Ends the trace of a run that failed.</summary>
    /// <param name="exception">The failure.</param>
    internal void Fail(Exception exception)
    {
        _activity?.SetStatus(ActivityStatusCode.Error, exception.Message);
        _activity?.SetTag(BoxerMetrics.ErrorType, exception.GetType().FullName);
        _metrics.RunFailed(exception, Network, _time.GetElapsedTime(_start));
    }

    /// <summary>Starts the activity of the clean-up, which goes on after the run's own activity has ended.</summary>
    internal Activity? StartCleanup() => _activity is null ? null : _metrics.Activities.StartActivity("boxer.cleanup", ActivityKind.Internal, _activity.Context);

    /// <inheritdoc/>
    public void Dispose() => _activity?.Dispose();

    private void AddSpan(string name, DateTimeOffset start, TimeSpan duration)
    {
        if (_activity is not null)
        {
            using Activity? span = _metrics.Activities.StartActivity(name, ActivityKind.Internal, _activity.Context, startTime: start);
            span?.SetEndTime((start + duration).UtcDateTime);
        }
    }

    private void Record(string stage, TimeSpan duration)
    {
        // A stage is repeated if another sandbox replaces one that died.
        _stages[stage] = _stages.GetValueOrDefault(stage) + duration;
        _metrics.Stage(stage, duration);
    }
}
