using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace Boxer.Diagnostics;

/// <summary>The meter and the activity source, both named <c>Boxer</c>.</summary>
internal sealed class BoxerMetrics : IDisposable
{
    /// <summary>The name of the meter and of the activity source.</summary>
    internal const string Name = "Boxer";

    private readonly Meter _meter;
    private readonly Counter<long> _runs;
    private readonly Histogram<double> _stages;

    internal BoxerMetrics(Func<(int Running, int Waiting)> admission)
    {
        string? version = typeof(BoxerMetrics).Assembly.GetName().Version?.ToString(3);
        _meter = new Meter(Name, version);
        Activities = new ActivitySource(Name, version);
        _runs = _meter.CreateCounter<long>("boxer.runs", "{run}", "Runs that ended, by termination and network.");
        _stages = _meter.CreateHistogram<double>(
            "boxer.stage.duration",
            "s",
            "Time of one stage of a run.",
            advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300] });
        Pool = new PoolMetrics(_meter);
        _meter.CreateObservableUpDownCounter("boxer.runs.active", () => admission().Running, "{run}", "Runs that hold a running slot.");
        _meter.CreateObservableUpDownCounter("boxer.runs.queued", () => admission().Waiting, "{run}", "Runs that wait for a running slot.");
    }

    internal ActivitySource Activities { get; }

    /// <summary>What the pool counts.</summary>
    internal PoolMetrics Pool { get; }

    internal void RunEnded(string termination, string network) =>
        _runs.Add(1, new("termination", termination), new KeyValuePair<string, object?>("network", network));

    internal void Stage(string stage, TimeSpan duration) =>
        _stages.Record(duration.TotalSeconds, new KeyValuePair<string, object?>("stage", stage));

    public void Dispose()
    {
        _meter.Dispose();
        Activities.Dispose();
    }
}
