using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>Prints what was measured, each case with its ratio to the first.</summary>
internal static class Tables
{
    /// <param name="title">What was measured.</param>
    /// <param name="series">The cases.</param>
    internal static void Print(string title, IReadOnlyList<Series> series)
    {
        Table table = new Table().AddColumns(title, "p50 ms", "p95 ms", "p99 ms", "p50 ratio", "p95 ratio");
        foreach (Series one in series)
        {
            table.AddRow(
                one.Name,
                $"{one.Percentile(0.5):0.0}",
                $"{one.Percentile(0.95):0.0}",
                $"{one.Percentile(0.99):0.0}",
                $"{one.Percentile(0.5) / series[0].Percentile(0.5):0.00}",
                $"{one.Percentile(0.95) / series[0].Percentile(0.95):0.00}");
        }

        AnsiConsole.Write(table);
    }
}
