using System.Diagnostics;
using Boxer.Diagnostics;
using Boxer.Networking;
using Boxer.Runtime;
using Microsoft.Extensions.Logging;

namespace Boxer.Running;

/// <summary>Times the stages of one run, for its result, its activity and the histograms.</summary>
internal sealed class RunTrace : IDisposable
{
    private readonly BoxerMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly string _id;
    private readonly long _start;
    private readonly Activity? _activity;
    private readonly Dictionary<string, TimeSpan> _stages = new(StringComparer.Ordinal);

    internal RunTrace(BoxerMetrics metrics, TimeProvider time, string id)
    {
        _metrics = metrics;
        _time = time;
        _id = id;
        _start = time.GetTimestamp();
        _activity = metrics.Activities.StartActivity("boxer.run");
        _activity?.SetTag("boxer.run.id", id);
    }

    /// <summary>The network mode, once it is known to be one: what a request says is no tag of a metric.</summary>
    internal string Network { get; set; } = "unknown";

    /// <summary>Times one stage.</summary>
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

    /// <summary>Makes the result of a run that came to its end.</summary>
    internal SandboxResult End(SandboxEnd end, NetworkReport? network, string imageDigest, IReadOnlyList<string> unenforcedLimits, ILogger logger)
    {
        Record("run", end.RunTime);
        Record("outputs", end.OutputsTime);
        AddSpan("boxer.command", end.HandedOverAt, end.RunTime);
        AddSpan("boxer.outputs", end.HandedOverAt + end.RunTime, end.OutputsTime);
        TimeSpan total = _time.GetElapsedTime(_start);
        _activity?.SetTag("boxer.image.digest", imageDigest);
        _activity?.SetTag("boxer.network", Network);
        _activity?.SetTag("boxer.termination", end.Termination.Kind.ToString());
        _metrics.RunEnded(end.Termination.Kind, Network, total);
        if (end.Outputs.Fault is not null)
        {
            Log.OutputsNotWritten(logger, _id, end.Outputs.Fault);
        }

        Log.RunEnded(logger, _id, imageDigest, end.Termination.Kind, (long)total.TotalMilliseconds);
        if (end.Termination.Kind == TerminationKind.SandboxDied)
        {
            Log.RunDied(logger, _id, imageDigest, (long)total.TotalMilliseconds);
        }

        return new SandboxResult(end.Termination)
        {
            Id = _id,
            StandardOutputBytes = end.Stdout,
            StandardErrorBytes = end.Stderr,
            OutputFiles = end.Outputs.Files,
            OutputFilesIncomplete = end.Outputs.Incomplete,
            OutputFilesDropped = end.Outputs.Dropped,
            WorkspaceChanges = end.Changes?.Archive ?? default,
            WorkspaceIncomplete = end.Changes?.Incomplete,
            Network = network ?? NetworkReport.None,
            NetworkIncomplete = network is null ? "This host could not read what the run did with its network." : null,
            ImageDigest = imageDigest,
            Usage = end.Usage,
            Timings = new SandboxTimings
            {
                Queue = _stages.GetValueOrDefault("queue") + _stages.GetValueOrDefault("processors"),
                Image = _stages.GetValueOrDefault("image"),
                Network = _stages.GetValueOrDefault("network"),
                Sandbox = _stages.GetValueOrDefault("sandbox"),
                Run = end.RunTime,
                OutputFiles = end.OutputsTime,
                Cleanup = end.CleanupTime,
                Total = total,
            },
            UnenforcedLimits = unenforcedLimits,
        };
    }

    /// <summary>Notes that the run did not come to an end.</summary>
    internal void Fail(Exception exception)
    {
        _activity?.SetStatus(ActivityStatusCode.Error, exception.Message);
        _activity?.SetTag(BoxerMetrics.ErrorType, exception.GetType().FullName);
        _metrics.RunFailed(exception, Network, _time.GetElapsedTime(_start));
    }

    /// <summary>Times what is taken away when the run is over, and its caller may be gone.</summary>
    internal Activity? StartCleanup() => _activity is null ? null : _metrics.Activities.StartActivity("boxer.cleanup", ActivityKind.Internal, _activity.Context);

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
        // A stage is repeated where another sandbox stands in for one that died.
        _stages[stage] = _stages.GetValueOrDefault(stage) + duration;
        _metrics.Stage(stage, duration);
    }
}
