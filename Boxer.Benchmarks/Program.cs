// Measures Boxer against its peers on this machine, all cases of one table interleaved in one run, prints a report and writes it to a file:
//
//   Boxer.Benchmarks IMAGE REGISTRY=URL REPORT [ROUNDS]
//
// IMAGE is pulled from the mirror URL of REGISTRY, and so are the tags TAG-more (a small layer more) and TAG-flat (the same in one layer);
// ./bench.sh makes all. Run as root.
using System.Diagnostics;
using Boxer.Benchmarks;
using Spectre.Console;

const int LeastWidth = 140;
if (args.Length is < 3 or > 4 || args[1].Split('=', 2) is not [var registry, var url] || !int.TryParse(args.ElementAtOrDefault(3) ?? "20", out int rounds) || rounds < 1)
{
    await Console.Error.WriteLineAsync("usage: Boxer.Benchmarks IMAGE REGISTRY=URL REPORT [ROUNDS]");
    return 2;
}

AnsiConsole.Profile.Width = Math.Max(AnsiConsole.Profile.Width, LeastWidth);
AnsiConsole.Record();
using var interruption = new Interruption();
try
{
    long start = Stopwatch.GetTimestamp();
    await Machine.PrintAsync();
    AnsiConsole.WriteLine($"this process when it starts: {Memory.Describe()}");
    await using (Bench bench = await Bench.CreateAsync(args[0], registry, url, rounds))
    {
        await PartAsync("One run after the other", RunBenchmark.RunAsync, bench);
        await PartAsync("Network modes", NetworkBenchmark.RunAsync, bench);
        await PartAsync("Many callers", ThroughputBenchmark.RunAsync, bench);
        await PartAsync("The HTTP host", HttpHostBenchmark.RunAsync, bench);
        await PartAsync("Sandboxes that wait", WaitingBenchmark.RunAsync, bench);
        await PartAsync("Beside others", CrowdBenchmark.RunAsync, bench);
        await PartAsync("Images", ImageBenchmark.RunAsync, bench);
    }

    AnsiConsole.WriteLine($"All took {Stopwatch.GetElapsedTime(start).TotalSeconds:0} s.");
}
catch (OperationCanceledException) when (Interruption.IsAsked)
{
    AnsiConsole.WriteLine("Interrupted.");
    return 1;
}
finally
{
    // What was measured before a failure is worth something too.
    await File.WriteAllTextAsync(args[2], AnsiConsole.ExportText());
}

return 0;

static async Task PartAsync(string title, Func<Bench, Task> run, Bench bench)
{
    long start = Stopwatch.GetTimestamp();
    AnsiConsole.WriteLine();
    AnsiConsole.WriteLine(title);
    await run(bench);
    AnsiConsole.WriteLine($"({Stopwatch.GetElapsedTime(start).TotalSeconds:0} s)");
}
