using System.Diagnostics.Metrics;

namespace Boxer.Diagnostics;

/// <summary>Metrics of sessions, published in the meter of the runner.</summary>
internal sealed class SessionMetrics
{
    private readonly Meter _meter;
    private readonly RunnerTag _runner;
    private readonly Counter<long> _opened;
    private readonly Counter<long> _ended;
    private readonly Histogram<double> _opening;
    private readonly Histogram<double> _execs;

    /// <param name="meter">Meter that publishes the metrics.</param>
    /// <param name="runner">Tag that names the runner.</param>
    internal SessionMetrics(Meter meter, RunnerTag runner)
    {
        _meter = meter;
        _runner = runner;
        _opened = meter.CreateCounter<long>("boxer.sessions.opened", "{session}", "Sessions that were opened or rejected, by network, and by error.type.");
        _ended = meter.CreateCounter<long>("boxer.sessions.ended", "{session}", "Sessions that ended, by end.");
        _opening = meter.CreateHistogram("boxer.session.open.duration", "s", "Time to open a session, by network.", advice: BoxerMetrics.Durations);
        _execs = meter.CreateHistogram("boxer.session.exec.duration", "s", "Time of a whole command in a session, by termination or error.type.", advice: BoxerMetrics.Durations);
    }

    /// <summary>Publishes the number of open sessions.</summary>
    /// <param name="open">Returns the current number by state.</param>
    internal void Observe(Func<IEnumerable<KeyValuePair<SandboxSessionState, int>>> open) => _meter.CreateObservableUpDownCounter(
        "boxer.sessions.open",
        () => open().Select(count => new Measurement<int>(count.Value, _runner.Join(new KeyValuePair<string, object?>("state", count.Key.ToString())))),
        "{session}",
        "Open sessions, by state.");

    /// <summary>Records a session that was opened.</summary>
    /// <param name="network">The network mode.</param>
    /// <param name="duration">The time of the opening.</param>
    internal void Opened(string network, TimeSpan duration)
    {
        _opened.Add(1, _runner.Join(new KeyValuePair<string, object?>("network", network)));
        _opening.Record(duration.TotalSeconds, _runner.Join(new KeyValuePair<string, object?>("network", network)));
    }

    /// <summary>Records a session that was not opened.</summary>
    /// <param name="exception">The failure.</param>
    /// <param name="network">The network mode.</param>
    internal void NotOpened(Exception exception, string network) =>
        _opened.Add(1, _runner.Join(new(BoxerMetrics.ErrorType, exception.GetType().FullName), new("network", network)));

    /// <summary>Records the end of a session.</summary>
    /// <param name="end">The end.</param>
    internal void Ended(SandboxSessionEnd end) => _ended.Add(1, _runner.Join(new KeyValuePair<string, object?>("end", end.ToString())));

    /// <summary>Records a command that came to its end.</summary>
    /// <param name="termination">How it ended.</param>
    /// <param name="duration">The time of the whole command.</param>
    internal void Executed(TerminationKind termination, TimeSpan duration) =>
        _execs.Record(duration.TotalSeconds, _runner.Join(new KeyValuePair<string, object?>("termination", termination.ToString())));

    /// <summary>Records a command that failed or was rejected.</summary>
    /// <param name="exception">The failure.</param>
    /// <param name="duration">The time of the whole command.</param>
    internal void ExecFailed(Exception exception, TimeSpan duration) =>
        _execs.Record(duration.TotalSeconds, _runner.Join(new KeyValuePair<string, object?>(BoxerMetrics.ErrorType, exception.GetType().FullName)));
}
