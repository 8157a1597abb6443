using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>Runs of many concurrent callers in this process, compared with <c>runsc run</c> one at a time.</summary>
internal static class ThroughputBenchmark
{
    private static readonly int[] Callers = [1, 2, 8, 32, 128];

    internal static async Task RunAsync(Bench bench)
    {
        Workload workload = Workload.Python;
        string idle = Memory.Describe();
        await using SandboxRunner cold = bench.CreateRunner();
        await using SandboxRunner pool = bench.CreateRunner(options => options.Pool.Enabled = true);
        double before = await bench.Runsc.MeasureRateAsync(workload, bench.Rounds).ConfigureAwait(false);
        var loads = new List<Load>();
        foreach (int callers in Callers)
        {
            foreach ((string name, SandboxRunner runner) in ((string, SandboxRunner)[])[("cold", cold), ("pool", pool)])
            {
                loads.Add(await Load.RunAsync($"callers: {callers}, {name}", callers, Math.Max(bench.Rounds * 2, callers), async () =>
                {
                    SandboxResult result = await runner.RunAsync(new SandboxRequest(bench.Image, [.. workload.Command])).ConfigureAwait(false);
                    return result.ExitCode == 0 && result.StandardOutput == workload.ExpectedOutput;
                }).ConfigureAwait(false));
            }
        }

        double after = await bench.Runsc.MeasureRateAsync(workload, bench.Rounds).ConfigureAwait(false);
        double bare = (before + after) / 2;
        Table table = Tables.Create($"{workload.Name}, at least one run for each caller", Load.Columns);
        table.AddRow("bare runsc run, one at a time, before and after", $"{bare:0.0}", "1.00", "", "", "", "");
        foreach (Load load in loads)
        {
            table.AddRow([.. load.Cells(bare)]);
        }

        AnsiConsole.Write(table);
        AnsiConsole.WriteLine($"this process before: {idle}; after: {Memory.Describe()}");
    }
}
