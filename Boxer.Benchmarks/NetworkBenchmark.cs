using System.Diagnostics;
using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>What the mode <c>sandbox</c> costs over <c>none</c>, and many sandboxes at once.</summary>
internal static class NetworkBenchmark
{
    private const int AtOnce = 50;

    internal static async Task RunAsync(ISandboxRunner runner, string image, int rounds)
    {
        var stages = new Series("sandbox");
        IReadOnlyList<Series> series = await Interleaved.RunAsync(
            rounds,
            ("none", () => OnceAsync("none", null)),
            ("sandbox", async () => stages.Add((await OnceAsync("sandbox", null).ConfigureAwait(false)).Timings.Network)),
            ("sandbox, allowed domains and quota", () => OnceAsync("sandbox", new EgressPolicy { Allow = ["pypi.org:443", "*.pythonhosted.org:443"], QuotaBytes = 1 << 30 }))).ConfigureAwait(false);

        Tables.Print($"`true`, {rounds} rounds", series);
        AnsiConsole.WriteLine($"network made before the boot: p50 {stages.Percentile(0.5):0.0} ms, p95 {stages.Percentile(0.95):0.0} ms");

        long start = Stopwatch.GetTimestamp();
        SandboxResult[] results = await Task.WhenAll(Enumerable.Range(0, AtOnce).Select(number => runner.RunAsync(
            new SandboxRequest(image, "sh", "-c", $"sleep 2; echo {number}") { Network = "sandbox", Limits = new() { MemoryMegabytes = 32 } }))).ConfigureAwait(false);
        int right = results.Where((result, number) => result.Stdout == $"{number}\n").Count();
        AnsiConsole.WriteLine($"{AtOnce} in mode sandbox at once, each sleeping 2 s: {right} right in {Stopwatch.GetElapsedTime(start).TotalSeconds:0.0} s");

        async Task<SandboxResult> OnceAsync(string network, EgressPolicy? policy)
        {
            SandboxResult result = await runner.RunAsync(new SandboxRequest(image, "true") { Network = network, Egress = policy }).ConfigureAwait(false);
            return result.ExitCode == 0 ? result : throw new InvalidOperationException($"A run ended as {result.Termination}: {result.Stderr}");
        }
    }
}
