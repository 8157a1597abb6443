using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>Throughput and memory of the reference HTTP host under load.</summary>
internal static class HttpHostBenchmark
{
    private const int Callers = 32;
    private const int Calls = 200;

    internal static async Task RunAsync(Bench bench)
    {
        Workload workload = Workload.Python;
        Table memory = Tables.Create("memory of the HTTP host", "resident MB", "maximum so far MB");
        double before = await bench.Runsc.MeasureRateAsync(workload, bench.Rounds).ConfigureAwait(false);
        Load load;
        await using (HttpHostProcess host = await HttpHostProcess.StartAsync(bench.Registry, bench.Url).ConfigureAwait(false))
        {
            AddRow("after the start");
            if (!await host.RunAsync(bench.Image, workload).ConfigureAwait(false))
            {
                throw new InvalidOperationException("The first run of the HTTP host failed.");
            }

            AddRow("after the first run, which pulled the image");
            load = await Load.RunAsync($"{Callers} callers over HTTP, {Calls} runs", Callers, Calls, () => host.RunAsync(bench.Image, workload)).ConfigureAwait(false);
            AddRow("after the load");

            void AddRow(string when) => memory.AddRow(when, $"{Memory.Resident(host.Id):0}", $"{Memory.Peak(host.Id):0}");
        }

        double bare = (before + await bench.Runsc.MeasureRateAsync(workload, bench.Rounds).ConfigureAwait(false)) / 2;
        Table table = Tables.Create(workload.Name, Load.Columns);
        table.AddRow("bare runsc run, one at a time, before and after", $"{bare:0.0}", "1.00", "", "", "", "");
        table.AddRow([.. load.Cells(bare)]);
        AnsiConsole.Write(table);
        AnsiConsole.Write(memory);
    }
}
