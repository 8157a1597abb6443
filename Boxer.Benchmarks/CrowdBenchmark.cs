using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>The slowdown of one run while other sandboxes run, and the memory of those.</summary>
internal sealed class CrowdBenchmark : IAsyncDisposable
{
    private const int MaxRounds = 8;
    private const long MemoryBytes = 32 * ByteSize.MiB;
    private static readonly int[] OtherCounts = [0, 10, 50, 100];
    private static readonly TimeSpan Rest = TimeSpan.FromMilliseconds(250);
    private readonly Bench _bench;
    private readonly int _rounds;
    private readonly SandboxRunner _cold;
    private readonly SandboxRunner _pool;
    private readonly SandboxRunner _crowd;
    private readonly CancellationTokenSource _end = new();
    private readonly List<Task> _others = [];
    private readonly Table _table;
    private readonly double _availableBefore = Memory.Available();
    private double[]? _alone;

    private CrowdBenchmark(Bench bench)
    {
        _bench = bench;
        _rounds = Math.Min(bench.Rounds, MaxRounds);
        _cold = bench.CreateRunner();
        _pool = bench.CreateRunner(options => options.Pool.Enabled = true);

        // The other sandboxes have a runner of their own, because a runner without free processors fills no pool.
        _crowd = bench.CreateRunner(options =>
        {
            options.MaxConcurrentRuns = OtherCounts[^1];
            options.CpuOvercommit = OtherCounts[^1];
            options.PullMemoryBytes = 64 * ByteSize.MiB;
            options.MaxMemoryBytes = options.PullMemoryBytes + Math.Max(OtherCounts[^1] * MemoryBytes, 256 * ByteSize.MiB);
        });
        _table = Tables.Create($"others that run `sleep 600`; true, {_rounds} rounds", "bare p50 ms", "cold p50 ms", "hit p50 ms", "hits", "cold to bare", "hit to bare", "cold to 0 others", "hit to 0 others", "MB each", "busy %");
    }

    internal static async Task RunAsync(Bench bench)
    {
        await using var benchmark = new CrowdBenchmark(bench);
        foreach (int others in OtherCounts)
        {
            await benchmark.MeasureAsync(others).ConfigureAwait(false);
        }

        AnsiConsole.Write(benchmark._table);
        AnsiConsole.WriteLine("Bare is `runsc run`; busy is in percent of one processor, with only the others running.");
    }

    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll(_others).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _end.Dispose();
        await _crowd.DisposeAsync().ConfigureAwait(false);
        await _pool.DisposeAsync().ConfigureAwait(false);
        await _cold.DisposeAsync().ConfigureAwait(false);
    }

    private async Task MeasureAsync(int others)
    {
        while (_others.Count < others)
        {
            Interruption.ThrowIfRequested();
            _others.Add(await StartOtherAsync().ConfigureAwait(false));
        }

        double busy = await Processors.MeasureBusyAsync().ConfigureAwait(false);
        double usedMemory = _availableBefore - Memory.Available();
        int hits = 0;
        IReadOnlyList<Series> series = await Interleaved.RunAsync(
            _rounds,
            Rest,
            Case.Peer("bare", () => _bench.Runsc.RunAsync(Workload.True)),
            new Case("cold", _ => Workload.True.RunAsync(_cold, _bench.Image), IsCompiled: true),
            new Case("hit", async measured =>
            {
                SandboxResult result = await Workload.True.RunAsync(_pool, _bench.Image).ConfigureAwait(false);
                hits += measured && result.Timings.Sandbox == TimeSpan.Zero ? 1 : 0;
            }, IsCompiled: true)).ConfigureAwait(false);
        double[] times = [.. series.Select(one => one.Percentile(0.5))];
        _alone ??= times;
        _table.AddRow([
            $"{others}",
            .. times.Select(time => $"{time:0.0}"),
            $"{hits} of {_rounds}",
            $"{times[1] / times[0]:0.00}",
            $"{times[2] / times[0]:0.00}",
            $"{times[1] / _alone[1]:0.00}",
            $"{times[2] / _alone[2]:0.00}",
            others == 0 ? "" : $"{usedMemory / others:0.0}",
            $"{busy:0}",
        ]);
    }

    // Returns once the command has started. The inner task ends with the run.
    private async Task<Task> StartOtherAsync()
    {
        var started = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Task run = Task.Run(
            async () =>
            {
                var request = new SandboxRequest(_bench.Image, "sleep", "600") { Limits = new() { MemoryBytes = MemoryBytes, WallClock = TimeSpan.FromMinutes(10) } };
                await foreach (SandboxEvent item in _crowd.StreamAsync(request, _end.Token).ConfigureAwait(false))
                {
                    if (item is SandboxStarted)
                    {
                        started.SetResult();
                    }
                }
            },
            CancellationToken.None);
        await (await Task.WhenAny(started.Task, run).ConfigureAwait(false)).ConfigureAwait(false);
        return run;
    }
}
