using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>The reference HTTP host under load: what it answers, and what memory it has.</summary>
internal static class HttpHostBenchmark
{
    private const int Callers = 32;
    private const int Calls = 200;

    internal static async Task RunAsync(Bench bench)
    {
        Workload workload = Workload.Python;
        Table memory = Tables.Make("memory of the HTTP host", "resident MB", "most until then MB");
        double before = await bench.Runsc.RateAsync(workload, bench.Rounds).ConfigureAwait(false);
        Load load;
        await using (HttpHostProcess host = await HttpHostProcess.StartAsync(bench.Registry, bench.Url).ConfigureAwait(false))
        {
            Note("it listens");
            if (!await host.RunAsync(bench.Image, workload).ConfigureAwait(false))
            {
                throw new InvalidOperationException("The first run of the HTTP host failed.");
            }

            Note("after the first run, which pulled the image");
            load = await Load.RunAsync($"{Callers} callers over HTTP, {Calls} runs", Callers, Calls, () => host.RunAsync(bench.Image, workload)).ConfigureAwait(false);
            Note("after the load");

            void Note(string when) => memory.AddRow(when, $"{Memory.Resident(host.Id):0}", $"{Memory.Peak(host.Id):0}");
        }

        double bare = (before + await bench.Runsc.RateAsync(workload, bench.Rounds).ConfigureAwait(false)) / 2;
        Table table = Tables.Make(workload.Name, Load.Columns);
        table.AddRow("bare runsc run, one after the other, before and after", $"{bare:0.0}", "1.00", "", "", "", "");
        table.AddRow([.. load.Cells(bare)]);
        AnsiConsole.Write(table);
        AnsiConsole.Write(memory);
    }
}
