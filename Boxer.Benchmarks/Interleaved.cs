using System.Diagnostics;

namespace Boxer.Benchmarks;

/// <summary>Runs cases in turn, each round in another order, so that whatever else the machine does hits all of them alike.</summary>
internal static class Interleaved
{
    private const int WarmUps = 3;

    /// <param name="rounds">How often each case is measured; rounds that warm up come before.</param>
    /// <param name="cases">The cases; each does its work once.</param>
    internal static Task<IReadOnlyList<Series>> RunAsync(int rounds, params IReadOnlyList<(string Name, Func<Task> Work)> cases) =>
        RunAsync(rounds, TimeSpan.Zero, cases);

    /// <param name="rounds">How often each case is measured; rounds that warm up come before.</param>
    /// <param name="rest">How long nothing is done before each measurement.</param>
    /// <param name="cases">The cases; each does its work once.</param>
    internal static async Task<IReadOnlyList<Series>> RunAsync(int rounds, TimeSpan rest, params IReadOnlyList<(string Name, Func<Task> Work)> cases)
    {
        var series = cases.Select(item => new Series(item.Name)).ToArray();
        for (int round = -WarmUps; round < rounds; round++)
        {
            for (int turn = 0; turn < cases.Count; turn++)
            {
                int index = (round + WarmUps + turn) % cases.Count;
                await Task.Delay(rest).ConfigureAwait(false);
                long start = Stopwatch.GetTimestamp();
                await cases[index].Work().ConfigureAwait(false);
                if (round >= 0)
                {
                    series[index].Add(Stopwatch.GetElapsedTime(start));
                }
            }
        }

        return series;
    }
}

/// <summary>What was measured of one case.</summary>
internal sealed class Series(string name)
{
    private readonly List<double> _milliseconds = [];

    internal string Name { get; } = name;

    internal void Add(TimeSpan time) => _milliseconds.Add(time.TotalMilliseconds);

    /// <summary>The value that a share of all is not above (nearest rank), in milliseconds.</summary>
    internal double Percentile(double share)
    {
        double[] sorted = [.. _milliseconds.Order()];
        return sorted[Math.Max(0, (int)Math.Ceiling(share * sorted.Length) - 1)];
    }
}
