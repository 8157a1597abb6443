using System.Diagnostics.Metrics;

namespace Boxer.Diagnostics;

/// <summary>Metrics of the pool, published in the meter of the runner.</summary>
internal sealed class PoolMetrics
{
    // The range starts at a sandbox that is used right after its boot, and ends at the default maximum age of one hour.
    private static readonly InstrumentAdvice<double> Ages =
        new() { HistogramBucketBoundaries = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 1800, 3600] };

    private readonly Meter _meter;
    private readonly RunnerTag _runner;
    private readonly Counter<long> _takes;
    private readonly Histogram<double> _boots;
    private readonly Histogram<double> _ages;

    /// <param name="meter">Meter that publishes the metrics.</param>
    /// <param name="runner">Tag that names the runner; <see langword="null"/> for none.</param>
    internal PoolMetrics(Meter meter, RunnerTag? runner = null)
    {
        _meter = meter;
        _runner = runner ?? new RunnerTag();
        _takes = meter.CreateCounter<long>("boxer.pool.takes", "{run}", "Runs that asked the pool for a sandbox, by whether one was ready.");
        _boots = meter.CreateHistogram("boxer.pool.boot.duration", "s", "Duration of a boot by the pool.", advice: BoxerMetrics.Durations);
        _ages = meter.CreateHistogram("boxer.pool.age", "s", "Age of a sandbox when a run takes it.", advice: Ages);
    }

    /// <summary>Publishes the number of sandboxes that are ready for a run.</summary>
    /// <param name="waiting">Returns the current number.</param>
    internal void Observe(Func<int> waiting) =>
        _meter.CreateObservableUpDownCounter("boxer.pool.sandboxes", () => new Measurement<int>(waiting(), _runner.Join()), "{sandbox}", "Sandboxes that are ready for a run.");

    /// <summary>Counts a run that asked the pool for a sandbox.</summary>
    /// <param name="hit">Whether the pool had one ready.</param>
    internal void Taken(bool hit) => _takes.Add(1, _runner.Join(new KeyValuePair<string, object?>("hit", hit)));

    /// <summary>Records the duration of a boot by the pool.</summary>
    /// <param name="time">Duration of the boot.</param>
    internal void Booted(TimeSpan time) => _boots.Record(time.TotalSeconds, _runner.Join());

    /// <summary>Records the age of a sandbox when a run takes it.</summary>
    /// <param name="age">Time since the end of its boot.</param>
    internal void Age(TimeSpan age) => _ages.Record(age.TotalSeconds, _runner.Join());
}
