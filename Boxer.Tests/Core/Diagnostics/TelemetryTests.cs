using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using Boxer.Diagnostics;
using Boxer.Hosting;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Diagnostics;

/// <summary>Activities and measurements of runs, as a listener gets them.</summary>
[Collection(Sandboxes.Name)]
public sealed class TelemetryTests(SharedRunner shared)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_run_is_an_activity_with_one_for_each_stage()
    {
        _ = shared.Runner;
        var ended = new ConcurrentQueue<Activity>();
        using ActivityListener listener = Listen(ended);
        SandboxResult result = await shared.Runner.RunAsync(SharedRunner.Python("print(42)"), Cancel);
        await Until.IsSoAsync(() => ended.Any(activity => activity.OperationName == "boxer.cleanup"), seconds: 30);

        Activity run = Assert.Single(ended, activity => activity.OperationName == "boxer.run" && result.Id.Equals(activity.GetTagItem("boxer.run.id")));
        Assert.Equal(
            [("boxer.image.digest", result.ImageDigest), ("boxer.network", "none"), ("boxer.termination", "Exited")],
            run.TagObjects.Where(tag => tag.Key != "boxer.run.id").Select(tag => (tag.Key, (string?)tag.Value)).OrderBy(tag => tag.Key, StringComparer.Ordinal));
        Assert.Equal(
            ["boxer.cleanup", "boxer.command", "boxer.image", "boxer.network", "boxer.outputs", "boxer.processors", "boxer.queue", "boxer.sandbox"],
            ended.Where(activity => activity.ParentSpanId == run.SpanId).Select(activity => activity.OperationName).Order(StringComparer.Ordinal));
        Activity command = ended.Single(activity => activity.OperationName == "boxer.command");
        Assert.Equal(result.Timings.Run.TotalMilliseconds, command.Duration.TotalMilliseconds, tolerance: 0.01);
        Assert.InRange(command.StartTimeUtc, run.StartTimeUtc, run.StartTimeUtc + run.Duration);
    }

    [Fact]
    public async Task A_failed_run_is_an_activity_with_an_error()
    {
        _ = shared.Runner;
        var ended = new ConcurrentQueue<Activity>();
        using ActivityListener listener = Listen(ended);

        await Assert.ThrowsAsync<ImageNotFoundException>(() => shared.Runner.RunAsync(new SandboxRequest("no/such", "true"), Cancel));

        Assert.Contains(
            ended,
            activity => activity.OperationName == "boxer.run" && activity.Status == ActivityStatusCode.Error
                && "Boxer.ImageNotFoundException".Equals(activity.GetTagItem("error.type")));
        Assert.Contains(ended, activity => activity.OperationName == "boxer.pull" && activity.Status == ActivityStatusCode.Error);
        Assert.Contains(ended, activity => activity.OperationName == "boxer.image" && activity.Status == ActivityStatusCode.Error);
    }

    [Fact]
    public async Task The_meter_counts_runs_and_measures_every_stage_without_text_of_requests()
    {
        _ = shared.Runner;
        var heard = new ConcurrentQueue<(string Instrument, double Value, string Tags)>();
        using var listener = new MeterListener();
        var histograms = new ConcurrentQueue<Histogram<double>>();
        listener.InstrumentPublished = (instrument, own) =>
        {
            if (instrument.Meter.Name == BoxerMetrics.Name)
            {
                if (instrument is Histogram<double> histogram)
                {
                    histograms.Enqueue(histogram);
                }

                own.EnableMeasurementEvents(instrument);
            }
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => heard.Enqueue((instrument.Name, value, Text(tags))));
        listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => heard.Enqueue((instrument.Name, value, Text(tags))));
        listener.SetMeasurementEventCallback<int>((instrument, value, tags, _) => heard.Enqueue((instrument.Name, value, Text(tags))));
        listener.Start();

        await using (SandboxRunner runner = SandboxRunnerFactory.Create(shared.Options))
        {
            await runner.RunAsync(SharedRunner.Python("print(42)"), Cancel);
            await Assert.ThrowsAsync<InvalidSandboxRequestException>(
                () => runner.RunAsync(new SandboxRequest("no image", "true") { Network = "made-up-by-a-client" }, Cancel));
            listener.RecordObservableInstruments();
        }

        Assert.Contains(heard, item => item is { Instrument: "boxer.runs", Value: 1, Tags: "network=none termination=Exited" });
        Assert.Contains(heard, item => item is { Instrument: "boxer.runs", Value: 1, Tags: "error.type=Boxer.InvalidSandboxRequestException network=unknown" });
        Assert.Contains(heard, item => item is { Instrument: "boxer.run.duration", Value: > 0, Tags: "network=none termination=Exited" });
        Assert.Contains(heard, item => item is { Instrument: "boxer.run.duration", Value: > 0, Tags: "error.type=Boxer.InvalidSandboxRequestException network=unknown" });
        Assert.DoesNotContain(heard, item => item.Tags.Contains("made-up-by-a-client", StringComparison.Ordinal));
        Assert.Superset(
            new HashSet<string>(((string[])["queue", "image", "network", "sandbox", "processors", "run", "outputs", "cleanup"]).Select(stage => "stage=" + stage), StringComparer.Ordinal),
            heard.Where(item => item is { Instrument: "boxer.stage.duration", Value: >= 0 }).Select(item => item.Tags).ToHashSet(StringComparer.Ordinal));
        Assert.Equal(
            ["boxer.pool.age", "boxer.pool.boot.duration", "boxer.run.duration", "boxer.session.exec.duration", "boxer.session.open.duration", "boxer.stage.duration"],
            histograms.Select(histogram => histogram.Name).Distinct().Order(StringComparer.Ordinal));
        Assert.All(histograms, histogram => Assert.Equal(("s", true), (histogram.Unit, histogram.Advice?.HistogramBucketBoundaries is [<= 0.005, .., >= 300])));
        Assert.Contains(heard, item => item.Instrument == "boxer.runs.active");
        Assert.Contains(heard, item => item.Instrument == "boxer.runs.queued");
    }

    [Fact]
    public async Task Every_stage_is_timed_in_the_result()
    {
        SandboxTimings timings = (await shared.Runner.RunAsync(SharedRunner.Python("open('/output/a', 'w').write('x')"), Cancel)).Timings;

        TimeSpan[] stages = [timings.Queue, timings.Image, timings.Network, timings.Sandbox, timings.Run, timings.OutputFiles, timings.Cleanup];
        Assert.All(stages, stage => Assert.True(stage > TimeSpan.Zero, timings.ToString()));
        Assert.True(stages.Aggregate((sum, stage) => sum + stage) <= timings.Total, timings.ToString());
    }

    private static ActivityListener Listen(ConcurrentQueue<Activity> ended)
    {
        var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == BoxerMetrics.Name,
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = ended.Enqueue,
        };
        ActivitySource.AddActivityListener(listener);
        return listener;
    }

    private static string Text(ReadOnlySpan<KeyValuePair<string, object?>> tags) =>
        string.Join(' ', tags.ToArray().OrderBy(tag => tag.Key, StringComparer.Ordinal).Select(tag => $"{tag.Key}={tag.Value}"));
}
