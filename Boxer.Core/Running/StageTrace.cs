using System.Diagnostics;
using Boxer.Diagnostics;

namespace Boxer.Running;

/// <summary>Measures the stages of one operation, for its activity and the histograms.</summary>
internal class StageTrace : IDisposable
{
    private readonly Dictionary<string, TimeSpan> _stages = new(StringComparer.Ordinal);

    /// <summary>Starts the activity.</summary>
    /// <param name="metrics">The meter and the activity source.</param>
    /// <param name="time">The clock.</param>
    /// <param name="name">The name of the activity.</param>
    internal StageTrace(BoxerMetrics metrics, TimeProvider time, string name)
    {
        Metrics = metrics;
        Time = time;
        Start = time.GetTimestamp();
        Activity = metrics.Activities.StartActivity(name);
    }

    /// <summary>Name of the network mode. Set it after validation: text of a request must not become a tag of a metric.</summary>
    internal string Network { get; set; } = "unknown";

    /// <summary>Time since the start.</summary>
    internal TimeSpan Elapsed => Time.GetElapsedTime(Start);

    /// <summary>The activity; <see langword="null"/> if nobody listens.</summary>
    internal Activity? Activity { get; }

    private protected BoxerMetrics Metrics { get; }

    private protected TimeProvider Time { get; }

    private long Start { get; }

    /// <summary>Runs and measures one stage.</summary>
    /// <param name="stage">The name of the stage.</param>
    /// <param name="action">The stage.</param>
    internal async Task<T> StageAsync<T>(string stage, Func<Task<T>> action)
    {
        long start = Time.GetTimestamp();
        using Activity? activity = Metrics.Activities.StartActivity("boxer." + stage);
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
            Record(stage, Time.GetElapsedTime(start));
        }
    }

    /// <summary>Marks the activity as failed.</summary>
    /// <param name="exception">The failure.</param>
    internal virtual void Fail(Exception exception)
    {
        Activity?.SetStatus(ActivityStatusCode.Error, exception.Message);
        Activity?.SetTag(BoxerMetrics.ErrorType, exception.GetType().FullName);
    }

    /// <summary>Starts the activity of the clean-up, which goes on after this activity has ended.</summary>
    internal Activity? StartCleanup() => Activity is null ? null : Metrics.Activities.StartActivity("boxer.cleanup", ActivityKind.Internal, Activity.Context);

    /// <inheritdoc/>
    public void Dispose() => Activity?.Dispose();

    /// <summary>Returns the time of one stage so far.</summary>
    /// <param name="stage">The name of the stage.</param>
    internal TimeSpan TimeOf(string stage) => _stages.GetValueOrDefault(stage);

    private protected void Record(string stage, TimeSpan duration)
    {
        // A stage is repeated if another sandbox replaces one that died.
        _stages[stage] = TimeOf(stage) + duration;
        Metrics.Stage(stage, duration);
    }
}
