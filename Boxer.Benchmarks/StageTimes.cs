using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>Stage times of the runs of one case that got a pooled sandbox.</summary>
/// <param name="name">Name of the case in tables.</param>
internal sealed class StageTimes(string name)
{
    private static readonly (string Name, Func<SandboxTimings, TimeSpan> Read)[] Stages =
    [
        ("queue", timings => timings.Queue),
        ("image", timings => timings.Image),
        ("network", timings => timings.Network),
        ("sandbox", timings => timings.Sandbox),
        ("run", timings => timings.Run),
        ("outputs", timings => timings.OutputFiles),
        ("cleanup", timings => timings.Cleanup),
        ("total", timings => timings.Total),
        ("own overhead", timings => timings.Total - timings.Run - timings.OutputFiles),
    ];

    private readonly string _name = name;
    private readonly Series[] _series = [.. Stages.Select(stage => new Series(stage.Name))];
    private int _runs;
    private int _hits;

    /// <summary>Adds a run.</summary>
    internal void Add(SandboxTimings timings)
    {
        _runs++;
        if (timings.Sandbox != TimeSpan.Zero)
        {
            return;
        }

        _hits++;
        for (int i = 0; i < Stages.Length; i++)
        {
            _series[i].Add(Stages[i].Read(timings));
        }
    }

    /// <summary>Prints the stages of several cases side by side.</summary>
    /// <param name="title">Name of the command.</param>
    /// <param name="cases">The cases.</param>
    internal static void Print(string title, params IEnumerable<StageTimes> cases)
    {
        AnsiConsole.WriteLine(string.Join("; ", cases.Select(one => $"{one._name}: {one._hits} of {one._runs} got a pooled sandbox")));
        StageTimes[] measured = [.. cases.Where(one => one._hits > 0)];
        Table table = Tables.Create($"stages of {title}, ms", measured.SelectMany(one => (string[])[$"{one._name}: p50", "p95", "p99"]));
        for (int i = 0; i < Stages.Length; i++)
        {
            table.AddRow([Stages[i].Name, .. measured.SelectMany(one => ((double[])[0.5, 0.95, 0.99]).Select(share => $"{one._series[i].Percentile(share):0.00}"))]);
        }

        AnsiConsole.Write(table);
    }

    /// <summary>Prints the meaning of the rows that are not in <see cref="SandboxTimings"/>.</summary>
    internal static void Explain() => AnsiConsole.WriteLine(
        "Own overhead is the total without run (hand-over to the end of the command) and outputs: the time that neither the guest nor the sentry needs.");
}
