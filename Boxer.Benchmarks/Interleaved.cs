using System.Diagnostics;

namespace Boxer.Benchmarks;

/// <summary>Runs cases in turn, each round in another order, so that other load of the machine affects all of them alike.</summary>
internal static class Interleaved
{
    // Until all code that a run uses is compiled.
    private const int WarmUps = 15;

    // For warm caches of the machine.
    private const int CompiledWarmUps = 2;

    /// <param name="rounds">Number of measurements of each case; rounds that warm up come first.</param>
    /// <param name="cases">The cases.</param>
    internal static Task<IReadOnlyList<Series>> RunAsync(int rounds, params IReadOnlyList<Case> cases) =>
        RunAsync(rounds, TimeSpan.Zero, cases);

    /// <param name="rounds">Number of measurements of each case; rounds that warm up come first.</param>
    /// <param name="rest">Pause before each measurement.</param>
    /// <param name="cases">The cases.</param>
    internal static async Task<IReadOnlyList<Series>> RunAsync(int rounds, TimeSpan rest, params IReadOnlyList<Case> cases)
    {
        var series = cases.Select(item => new Series(item.Name)).ToArray();
        for (int round = -WarmUps; round < rounds; round++)
        {
            for (int turn = 0; turn < cases.Count; turn++)
            {
                int index = (round + WarmUps + turn) % cases.Count;
                if (cases[index].IsCompiled && round < -CompiledWarmUps)
                {
                    continue;
                }

                Interruption.ThrowIfRequested();
                await Task.Delay(rest).ConfigureAwait(false);
                long start = Stopwatch.GetTimestamp();
                await cases[index].WorkAsync(round >= 0).ConfigureAwait(false);
                if (round >= 0)
                {
                    series[index].Add(Stopwatch.GetElapsedTime(start));
                }
            }
        }

        return series;
    }
}

/// <summary>One of the cases that are compared.</summary>
/// <param name="Name">Name in tables.</param>
/// <param name="WorkAsync">Does the work once. Its argument is whether the time is measured.</param>
/// <param name="IsCompiled">Whether all of its code is compiled: another program does the work, or it ran often before.</param>
internal sealed record Case(string Name, Func<bool, Task> WorkAsync, bool IsCompiled = false)
{
    /// <summary>A case whose work another program does.</summary>
    internal static Case Peer(string name, Func<Task> work) => new(name, _ => work(), IsCompiled: true);
}
