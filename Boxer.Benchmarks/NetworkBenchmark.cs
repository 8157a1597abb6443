using System.Diagnostics;
using Boxer.Networking;
using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>The cost of the mode <c>sandbox</c> compared with <c>none</c>, and many concurrent sandboxes with a network.</summary>
internal static class NetworkBenchmark
{
    private const int ConcurrentRuns = 50;

    // Gives the pool time to boot a sandbox. All cases rest, also those without a pool.
    private static readonly TimeSpan Rest = TimeSpan.FromMilliseconds(250);

    internal static async Task RunAsync(Bench bench)
    {
        await using SandboxRunner runner = bench.CreateRunner(options => (options.MaxConcurrentRuns, options.CpuOvercommit) = (ConcurrentRuns, ConcurrentRuns));
        await using SandboxRunner pool = bench.CreateRunner(options => options.Pool.Enabled = true);
        var policy = new EgressPolicy { Allow = ["pypi.org:443", "*.pythonhosted.org:443"], QuotaBytes = 1 << 30 };
        var created = new Series("created");
        var hits = new StageTimes("pool, sandbox");
        IReadOnlyList<Series> series = await Interleaved.RunAsync(
            bench.Rounds,
            Rest,
            Case.Peer("bare runsc run, without a network", () => bench.Runsc.RunAsync(Workload.True)),
            new Case("boxer, cold, none", _ => Workload.True.RunAsync(runner, bench.Image), IsCompiled: true),
            new Case("boxer, cold, sandbox", async measured =>
            {
                SandboxResult result = await Workload.True.RunAsync(runner, bench.Image, "sandbox").ConfigureAwait(false);
                if (measured)
                {
                    created.Add(result.Timings.Network);
                }
            }),
            new Case("boxer, cold, sandbox, allowed domains and quota", _ => Workload.True.RunAsync(runner, bench.Image, "sandbox", policy)),
            new Case("the same, from the pool", async measured =>
            {
                SandboxResult result = await Workload.True.RunAsync(pool, bench.Image, "sandbox", policy).ConfigureAwait(false);
                if (measured)
                {
                    hits.Add(result.Timings);
                }
            })).ConfigureAwait(false);

        Tables.Print($"true, {bench.Rounds} rounds", series);
        AnsiConsole.WriteLine($"network created before the boot: p50 {created.Percentile(0.5):0.0} ms, p95 {created.Percentile(0.95):0.0} ms");
        StageTimes.Print("true, with the policy installed at the hand-over", hits);
        await MeasureConcurrentRunsAsync(runner, bench.Image).ConfigureAwait(false);
    }

    private static async Task MeasureConcurrentRunsAsync(SandboxRunner runner, string image)
    {
        long start = Stopwatch.GetTimestamp();
        SandboxResult[] results = await Task.WhenAll(Enumerable.Range(0, ConcurrentRuns).Select(number => runner.RunAsync(
            new SandboxRequest(image, "sh", "-c", $"sleep 2; echo {number}") { Network = "sandbox", Limits = new() { MemoryBytes = 32 * ByteSize.MiB } }))).ConfigureAwait(false);
        int correct = results.Where((result, number) => result.StandardOutput == $"{number}\n").Count();
        AnsiConsole.WriteLine($"{ConcurrentRuns} concurrent runs in mode sandbox, each sleeping 2 s: {correct} correct in {Stopwatch.GetElapsedTime(start).TotalSeconds:0.0} s");
    }
}
