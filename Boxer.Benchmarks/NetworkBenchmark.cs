using System.Diagnostics;
using Boxer.Hosting;
using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>What the mode <c>sandbox</c> costs over <c>none</c>, and many sandboxes at once.</summary>
internal static class NetworkBenchmark
{
    private const int AtOnce = 50;

    // One is booted ahead meanwhile: the same for all cases.
    private static readonly TimeSpan Rest = TimeSpan.FromMilliseconds(400);

    /// <param name="makeOptions">Options that find the image.</param>
    /// <param name="image">The image.</param>
    /// <param name="rounds">How often each case is measured.</param>
    internal static async Task RunAsync(Func<BoxerOptions> makeOptions, string image, int rounds)
    {
        await using SandboxRunner runner = BoxerRunner.Create(makeOptions());
        BoxerOptions pooled = makeOptions();
        pooled.Pool.Enabled = true;
        await using SandboxRunner pool = BoxerRunner.Create(pooled);
        var policy = new EgressPolicy { Allow = ["pypi.org:443", "*.pythonhosted.org:443"], QuotaBytes = 1 << 30 };
        var made = new Series("made");
        var applied = new Series("applied");
        int hits = 0;
        IReadOnlyList<Series> series = await Interleaved.RunAsync(
            rounds,
            Rest,
            ("none", () => OnceAsync(runner, "none", null)),
            ("sandbox", async () => made.Add((await OnceAsync(runner, "sandbox", null).ConfigureAwait(false)).Timings.Network)),
            ("sandbox, allowed domains and quota", () => OnceAsync(runner, "sandbox", policy)),
            ("the same, from the pool", async () =>
            {
                SandboxTimings timings = (await OnceAsync(pool, "sandbox", policy).ConfigureAwait(false)).Timings;
                if (timings.Sandbox == TimeSpan.Zero)
                {
                    applied.Add(timings.Network);
                    hits++;
                }
            }
        )).ConfigureAwait(false);

        Tables.Print($"`true`, {rounds} rounds", series);
        AnsiConsole.WriteLine($"network made before the boot: p50 {made.Percentile(0.5):0.0} ms, p95 {made.Percentile(0.95):0.0} ms");
        AnsiConsole.WriteLine(hits == 0 ? "none waited" : $"policy laid for {hits} that waited: p50 {applied.Percentile(0.5):0.0} ms, p95 {applied.Percentile(0.95):0.0} ms");

        long start = Stopwatch.GetTimestamp();
        SandboxResult[] results = await Task.WhenAll(Enumerable.Range(0, AtOnce).Select(number => runner.RunAsync(
            new SandboxRequest(image, "sh", "-c", $"sleep 2; echo {number}") { Network = "sandbox", Limits = new() { MemoryMegabytes = 32 } }))).ConfigureAwait(false);
        int right = results.Where((result, number) => result.Stdout == $"{number}\n").Count();
        AnsiConsole.WriteLine($"{AtOnce} in mode sandbox at once, each sleeping 2 s: {right} right in {Stopwatch.GetElapsedTime(start).TotalSeconds:0.0} s");

        async Task<SandboxResult> OnceAsync(SandboxRunner from, string network, EgressPolicy? policy)
        {
            SandboxResult result = await from.RunAsync(new SandboxRequest(image, "true") { Network = network, Egress = policy }).ConfigureAwait(false);
            return result.ExitCode == 0 ? result : throw new InvalidOperationException($"A run ended as {result.Termination}: {result.Stderr}");
        }
    }
}
