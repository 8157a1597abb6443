using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>How one run grows slower while others run, and what memory those take.</summary>
internal static class CrowdBenchmark
{
    private const int MostRounds = 8;
    private const long MemoryBytes = 32 * ByteSize.MiB;
    private static readonly int[] Others = [0, 10, 50, 100];
    private static readonly TimeSpan Rest = TimeSpan.FromMilliseconds(250);

    internal static async Task RunAsync(Bench bench)
    {
        int rounds = Math.Min(bench.Rounds, MostRounds);
        await using SandboxRunner cold = bench.MakeRunner();
        await using SandboxRunner pool = bench.MakeRunner(options => options.Pool.Enabled = true);

        // A runner of their own: one whose processors are taken boots nothing ahead.
        await using SandboxRunner crowd = bench.MakeRunner(options =>
        {
            options.MaxConcurrentRuns = Others[^1];
            options.CpuOvercommit = Others[^1];
            options.PullMemoryBytes = 64 * ByteSize.MiB;
            options.MaxMemoryBytes = options.PullMemoryBytes + Math.Max(Others[^1] * MemoryBytes, 256 * ByteSize.MiB);
        });
        using var end = new CancellationTokenSource();
        var running = new List<Task>();
        Table table = Tables.Make($"others that run `sleep 600`; true, {rounds} rounds", "bare p50 ms", "cold p50 ms", "hit p50 ms", "hits", "cold to bare", "hit to bare", "cold to 0 others", "hit to 0 others", "MB each", "busy %");
        try
        {
            double[]? alone = null;
            double before = Memory.Available();
            foreach (int others in Others)
            {
                while (running.Count < others)
                {
                    Interruption.ThrowIfAsked();
                    running.Add(await StartAsync(crowd, bench.Image, end.Token).ConfigureAwait(false));
                }

                double busy = await Processors.BusyAsync().ConfigureAwait(false);
                double taken = before - Memory.Available();
                int hits = 0;
                IReadOnlyList<Series> series = await Interleaved.RunAsync(
                    rounds,
                    Rest,
                    Case.Peer("bare", () => bench.Runsc.RunAsync(Workload.True)),
                    new Case("cold", _ => Workload.True.RunAsync(cold, bench.Image), IsCompiled: true),
                    new Case("hit", async measured =>
                    {
                        SandboxResult result = await Workload.True.RunAsync(pool, bench.Image).ConfigureAwait(false);
                        hits += measured && result.Timings.Sandbox == TimeSpan.Zero ? 1 : 0;
                    }, IsCompiled: true)).ConfigureAwait(false);
                double[] times = [.. series.Select(one => one.Percentile(0.5))];
                alone ??= times;
                table.AddRow([
                    $"{others}",
                    .. times.Select(time => $"{time:0.0}"),
                    $"{hits} of {rounds}",
                    $"{times[1] / times[0]:0.00}",
                    $"{times[2] / times[0]:0.00}",
                    $"{times[1] / alone[1]:0.00}",
                    $"{times[2] / alone[2]:0.00}",
                    others == 0 ? "" : $"{taken / others:0.0}",
                    $"{busy:0}",
                ]);
            }
        }
        finally
        {
            await end.CancelAsync().ConfigureAwait(false);
            await Task.WhenAll(running).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        AnsiConsole.Write(table);
        AnsiConsole.WriteLine("Bare is `runsc run`; busy is in percent of one processor, with the others running and nothing measured.");
    }

    // The task that is returned inside ends with the run.
    private static async Task<Task> StartAsync(SandboxRunner runner, string image, CancellationToken cancellationToken)
    {
        var started = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Task run = Task.Run(
            async () =>
            {
                var request = new SandboxRequest(image, "sleep", "600") { Limits = new() { MemoryBytes = MemoryBytes, WallClock = TimeSpan.FromMinutes(10) } };
                await foreach (SandboxEvent item in runner.StreamAsync(request, cancellationToken).ConfigureAwait(false))
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
