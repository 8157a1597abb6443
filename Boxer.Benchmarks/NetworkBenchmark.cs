using System.Diagnostics;
using Boxer.Networking;
using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>What the mode <c>sandbox</c> costs over <c>none</c>, and many sandboxes at once.</summary>
internal static class NetworkBenchmark
{
    private const int AtOnce = 50;

    // One is booted ahead meanwhile: the same for all cases.
    private static readonly TimeSpan Rest = TimeSpan.FromMilliseconds(250);

    internal static async Task RunAsync(Bench bench)
    {
        await using SandboxRunner runner = bench.MakeRunner(options => (options.MaxConcurrentRuns, options.CpuOvercommit) = (AtOnce, AtOnce));
        await using SandboxRunner pool = bench.MakeRunner(options => options.Pool.Enabled = true);
        var policy = new EgressPolicy { Allow = ["pypi.org:443", "*.pythonhosted.org:443"], QuotaBytes = 1 << 30 };
        var made = new Series("made");
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
                    made.Add(result.Timings.Network);
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
        AnsiConsole.WriteLine($"network made before the boot: p50 {made.Percentile(0.5):0.0} ms, p95 {made.Percentile(0.95):0.0} ms");
        StageTimes.Print("true, with its policy laid at the hand-over", hits);

        long start = Stopwatch.GetTimestamp();
        SandboxResult[] results = await Task.WhenAll(Enumerable.Range(0, AtOnce).Select(number => runner.RunAsync(
            new SandboxRequest(bench.Image, "sh", "-c", $"sleep 2; echo {number}") { Network = "sandbox", Limits = new() { MemoryBytes = 32 * ByteSize.MiB } }))).ConfigureAwait(false);
        int right = results.Where((result, number) => result.StandardOutput == $"{number}\n").Count();
        AnsiConsole.WriteLine($"{AtOnce} in mode sandbox at once, each sleeping 2 s: {right} right in {Stopwatch.GetElapsedTime(start).TotalSeconds:0.0} s");
    }
}
