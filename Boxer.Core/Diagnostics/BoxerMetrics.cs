using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace Boxer.Diagnostics;

/// <summary>The meter and the activity source, both named <c>Boxer</c>.</summary>
internal sealed class BoxerMetrics : IDisposable
{
    /// <summary>The name of the meter and of the activity source.</summary>
    internal const string Name = "Boxer";

    /// <summary>OpenTelemetry's name of the tag for an exception's type.</summary>
    internal const string ErrorType = "error.type";

    private readonly Meter _meter;
    private readonly Counter<long> _runs;
    private readonly Histogram<double> _durations;
    private readonly Histogram<double> _stages;

    /// <param name="admission">Gets the number of running and of waiting runs.</param>
    internal BoxerMetrics(Func<(int Running, int Waiting)> admission)
    {
        string? version = typeof(BoxerMetrics).Assembly.GetName().Version?.ToString(3);
        _meter = new Meter(Name, version);
        Activities = new ActivitySource(Name, version);
        _runs = _meter.CreateCounter<long>("boxer.runs", "{run}", "Runs that ended or were rejected, by network, and by termination or error.type.");
        _durations = _meter.CreateHistogram("boxer.run.duration", "s", "Time of a whole run, by network, and by termination or error.type.", advice: Durations);
        _stages = _meter.CreateHistogram("boxer.stage.duration", "s", "Time of one stage of a run.", advice: Durations);
        Pool = new PoolMetrics(_meter, Runner);
        Sessions = new SessionMetrics(_meter, Runner);
        _meter.CreateObservableUpDownCounter("boxer.runs.active", () => new Measurement<int>(admission().Running, Runner.Join()), "{run}", "Runs that hold a running slot, until their sandbox is gone.");
        _meter.CreateObservableUpDownCounter("boxer.runs.queued", () => new Measurement<int>(admission().Waiting, Runner.Join()), "{run}", "Runs that have no running slot yet: they wait for one or for their image, or prepare the host.");
    }

    /// <summary>Histogram buckets for durations from half a millisecond to minutes, in seconds.</summary>
    internal static InstrumentAdvice<double> Durations { get; } =
        new() { HistogramBucketBoundaries = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300] };

    /// <summary>The activity source.</summary>
    internal ActivitySource Activities { get; }

    /// <summary>The tag of the runner.</summary>
    internal RunnerTag Runner { get; } = new();

    /// <summary>The metrics of the pool.</summary>
    internal PoolMetrics Pool { get; }

    /// <summary>The metrics of sessions.</summary>
    internal SessionMetrics Sessions { get; }

    /// <summary>Records a run that came to its end.</summary>
    /// <param name="termination">How it ended.</param>
    /// <param name="network">The network mode.</param>
    /// <param name="duration">The time of the whole run.</param>
    internal void RunEnded(TerminationKind termination, string network, TimeSpan duration) =>
        RunEnded(new KeyValuePair<string, object?>("termination", termination.ToString()), network, duration);

    /// <summary>Records a run that failed or was rejected.</summary>
    /// <param name="exception">The failure.</param>
    /// <param name="network">The network mode.</param>
    /// <param name="duration">The time of the whole run.</param>
    internal void RunFailed(Exception exception, string network, TimeSpan duration) =>
        RunEnded(new KeyValuePair<string, object?>(ErrorType, exception.GetType().FullName), network, duration);

    /// <summary>Records one stage of a run.</summary>
    /// <param name="stage">The name of the stage.</param>
    /// <param name="duration">The time of the stage.</param>
    internal void Stage(string stage, TimeSpan duration) =>
        _stages.Record(duration.TotalSeconds, Runner.Join(new KeyValuePair<string, object?>("stage", stage)));

    private void RunEnded(KeyValuePair<string, object?> how, string network, TimeSpan duration)
    {
        TagList tags = Runner.Join(how, new("network", network));
        _runs.Add(1, tags);
        _durations.Record(duration.TotalSeconds, tags);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _meter.Dispose();
        Activities.Dispose();
    }
}
