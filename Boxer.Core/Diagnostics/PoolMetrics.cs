using System.Diagnostics.Metrics;

namespace Boxer.Diagnostics;

/// <summary>The metrics of the pool, in the meter of the runner.</summary>
internal sealed class PoolMetrics
{
    // From a sandbox that is taken as soon as it has booted, to the default maximum age of an hour.
    private static readonly InstrumentAdvice<double> Ages =
        new() { HistogramBucketBoundaries = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 1800, 3600] };

    private readonly Meter _meter;
    private readonly RunnerTag _runner;
    private readonly Counter<long> _takes;
    private readonly Histogram<double> _boots;
    private readonly Histogram<double> _ages;

    /// <param name="meter">The meter.</param>
    /// <param name="runner">The tag of the runner; <see langword="null"/>: none.</param>
    internal PoolMetrics(Meter meter, RunnerTag? runner = null)
    {
        _meter = meter;
        _runner = runner ?? new RunnerTag();
        _takes = meter.CreateCounter<long>("boxer.pool.takes", "{run}", "Runs that wanted a sandbox of the pool, by whether one waited.");
        _boots = meter.CreateHistogram("boxer.pool.boot.duration", "s", "Time of a boot ahead.", advice: BoxerMetrics.Durations);
        _ages = meter.CreateHistogram("boxer.pool.age", "s", "How long a sandbox waited for its run.", advice: Ages);
    }

    /// <summary>Starts to observe the number of waiting sandboxes.</summary>
    /// <param name="waiting">Gets the number.</param>
    internal void Observe(Func<int> waiting) =>
        _meter.CreateObservableUpDownCounter("boxer.pool.sandboxes", () => new Measurement<int>(waiting(), _runner.Join()), "{sandbox}", "Sandboxes that wait for a run.");

    /// <summary>Records that a run wanted a sandbox.</summary>
    /// <param name="hit">Whether one waited.</param>
    internal void Taken(bool hit) => _takes.Add(1, _runner.Join(new KeyValuePair<string, object?>("hit", hit)));

    /// <summary>Records a boot.</summary>
    /// <param name="time">The time of the boot.</param>
    internal void Booted(TimeSpan time) => _boots.Record(time.TotalSeconds, _runner.Join());

    /// <summary>Records how long a sandbox waited for its run.</summary>
    /// <param name="age">The time.</param>
    internal void Age(TimeSpan age) => _ages.Record(age.TotalSeconds, _runner.Join());
}
