using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>Tables of the report.</summary>
internal static class Tables
{
    /// <summary>Prints the times of cases, each with its ratio to the first case.</summary>
    /// <param name="title">Title of the table.</param>
    /// <param name="series">The cases.</param>
    internal static void Print(string title, IReadOnlyList<Series> series)
    {
        Table table = Create(title, "p50 ms", "p95 ms", "p99 ms", "p50 ratio", "p95 ratio", "p99 / p50");
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

    /// <summary>Creates a table with one column of names and further columns of numbers.</summary>
    /// <param name="title">Header of the first column.</param>
    /// <param name="columns">Headers of the other columns.</param>
    internal static Table Create(string title, params IEnumerable<string> columns)
    {
        Table table = new Table().AddColumn(new TableColumn(Markup.Escape(title)));
        foreach (string column in columns)
        {
            table.AddColumn(new TableColumn(Markup.Escape(column)).RightAligned());
        }

        return table;
    }
}
