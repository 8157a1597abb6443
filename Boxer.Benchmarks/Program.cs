// Measures on this machine, prints a report and writes it to a file. ./bench.sh prepares everything and runs it. Requires root.
//
//   Boxer.Benchmarks IMAGE REGISTRY=URL REPORT ROUNDS [PARTS]
//   Boxer.Benchmarks --against IMAGE REGISTRY=URL REPORT PAIRS OLD_NAME OLD_HOST OLD_CONFIG NEW_NAME NEW_HOST NEW_CONFIG [ROWS]
//
// The first form compares Boxer with other programs; the cases of a table are interleaved in one run. IMAGE is pulled from the mirror URL of
// REGISTRY, and so are the tags TAG-more (with one more small layer) and TAG-flat (with all files in one layer). PARTS selects parts, separated
// by commas; all by default.
//
// The second form compares the HTTP hosts of two commits. Each is given as its name, the path of its Boxer.HttpHost.dll and a JSON object with
// additional configuration keys. ROWS selects groups of rows, separated by commas; all by default. The exit code is 1 if a row is slower.
using System.Diagnostics;
using System.Text.Json.Nodes;
using Boxer.Benchmarks;
using Spectre.Console;

const int MinWidth = 140;
bool isComparison = args is ["--against", ..];
string[] rest = isComparison ? args[1..] : args;
if ((isComparison ? rest.Length is < 10 or > 11 : rest.Length is < 4 or > 5)
    || rest[1].Split('=', 2) is not [var registry, var url]
    || !int.TryParse(rest[3], out int rounds) || rounds < 1)
{
    await Console.Error.WriteLineAsync("Wrong arguments. Use ./bench.sh: the comment at its top describes the arguments.");
    return 2;
}

AnsiConsole.Profile.Width = Math.Max(AnsiConsole.Profile.Width, MinWidth);
AnsiConsole.Record();
using var interruption = new Interruption();
try
{
    long start = Stopwatch.GetTimestamp();
    await Machine.PrintAsync();
    if (isComparison)
    {
        var comparison = new Comparison(ReadCommit(4), ReadCommit(7), rest[0], registry, url, rounds, rest.ElementAtOrDefault(10)?.Split(',') ?? []);
        bool isNotSlower = await comparison.RunAsync();
        PrintTime(start);
        return isNotSlower ? 0 : 1;
    }

    AnsiConsole.WriteLine($"this process at its start: {Memory.Describe()}");
    await using (Bench bench = await Bench.CreateAsync(rest[0], registry, url, rounds))
    {
        await new Parts(rest.ElementAtOrDefault(4)?.Split(',') ?? []).RunAsync(bench);
    }

    PrintTime(start);
}
catch (OperationCanceledException) when (Interruption.IsRequested)
{
    AnsiConsole.WriteLine("Interrupted.");
    return 1;
}
finally
{
    // Keeps the measurements before a failure.
    await File.WriteAllTextAsync(rest[2], AnsiConsole.ExportText());
}

return 0;

ComparedCommit ReadCommit(int at) => new(rest[at], rest[at + 1], JsonNode.Parse(rest[at + 2])!.AsObject());

static void PrintTime(long start) => AnsiConsole.WriteLine($"Total time: {Stopwatch.GetElapsedTime(start).TotalSeconds:0} s.");
