using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>Prints what was measured, each case with its ratio to the first.</summary>
internal static class Tables
{
    /// <param name="title">What was measured.</param>
    /// <param name="series">The cases.</param>
    internal static void Print(string title, IReadOnlyList<Series> series)
    {
        Table table = Make(title, "p50 ms", "p95 ms", "p99 ms", "p50 ratio", "p95 ratio", "p99 / p50");
        foreach (Series one in series)
        {
            table.AddRow(
                one.Name,
                $"{one.Percentile(0.5):0.0}",
                $"{one.Percentile(0.95):0.0}",
                $"{one.Percentile(0.99):0.0}",
                $"{one.Percentile(0.5) / series[0].Percentile(0.5):0.00}",
                $"{one.Percentile(0.95) / series[0].Percentile(0.95):0.00}",
                $"{one.Percentile(0.99) / one.Percentile(0.5):0.00}");
        }

        AnsiConsole.Write(table);
    }

    /// <summary>A table whose first column is what the rows are about, and whose others are numbers.</summary>
    /// <param name="title">What the rows are about.</param>
    /// <param name="columns">The numbers.</param>
    internal static Table Make(string title, params IEnumerable<string> columns)
    {
        Table table = new Table().AddColumn(new TableColumn(Markup.Escape(title)));
        foreach (string column in columns)
        {
            table.AddColumn(new TableColumn(Markup.Escape(column)).RightAligned());
        }

        return table;
    }
}
