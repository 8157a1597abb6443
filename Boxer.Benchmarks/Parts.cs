using System.Diagnostics;
using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>The parts of the report that compares Boxer with other programs.</summary>
/// <param name="only">Names of the selected parts; empty: all.</param>
internal sealed class Parts(IReadOnlyList<string> only)
{
    private static readonly (string Name, string Title, Func<Bench, Task> RunAsync)[] All =
    [
        ("runs", "One run at a time", RunBenchmark.RunAsync),
        ("sessions", "Sessions", SessionBenchmark.RunAsync),
        ("network", "Network modes", NetworkBenchmark.RunAsync),
        ("callers", "Many callers", ThroughputBenchmark.RunAsync),
        ("http", "The HTTP host", HttpHostBenchmark.RunAsync),
        ("pool", "Pooled sandboxes", PoolBenchmark.RunAsync),
        ("crowd", "Beside other sandboxes", CrowdBenchmark.RunAsync),
        ("images", "Images", ImageBenchmark.RunAsync),
    ];

    /// <summary>Measures and prints the selected parts.</summary>
    /// <exception cref="ArgumentException">A selected part does not exist.</exception>
    internal async Task RunAsync(Bench bench)
    {
        if (only.FirstOrDefault(name => All.All(part => part.Name != name)) is { } unknown)
        {
            throw new ArgumentException($"There is no part '{unknown}'. Select some of {string.Join(", ", All.Select(part => part.Name))}.");
        }

        foreach ((_, string title, Func<Bench, Task> runAsync) in All.Where(part => only.Count == 0 || only.Contains(part.Name)))
        {
            long start = Stopwatch.GetTimestamp();
            AnsiConsole.WriteLine();
            AnsiConsole.WriteLine(title);
            await runAsync(bench).ConfigureAwait(false);
            AnsiConsole.WriteLine($"({Stopwatch.GetElapsedTime(start).TotalSeconds:0} s)");
        }
    }
}
