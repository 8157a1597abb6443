using System.Diagnostics;

namespace Boxer.Benchmarks;

/// <summary>Runs cases in turn, each round in another order, so that whatever else the machine does hits all of them alike.</summary>
internal static class Interleaved
{
    // Until the compiler is through with what each run uses.
    private const int WarmUps = 15;

    // For the caches of the machine.
    private const int CompiledWarmUps = 2;

    /// <param name="rounds">How often each case is measured; rounds that warm up come before.</param>
    /// <param name="cases">The cases.</param>
    internal static Task<IReadOnlyList<Series>> RunAsync(int rounds, params IReadOnlyList<Case> cases) =>
        RunAsync(rounds, TimeSpan.Zero, cases);

    /// <param name="rounds">How often each case is measured; rounds that warm up come before.</param>
    /// <param name="rest">How long nothing is done before each measurement.</param>
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

                Interruption.ThrowIfAsked();
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

/// <summary>One of several things that are compared.</summary>
/// <param name="Name">What tables call it.</param>
/// <param name="WorkAsync">Does it once; is told whether that is measured.</param>
/// <param name="IsCompiled">Whether nothing that it needs is still to be compiled: other programs do it, or it ran often before.</param>
internal sealed record Case(string Name, Func<bool, Task> WorkAsync, bool IsCompiled = false)
{
    /// <summary>A case that other programs do.</summary>
    internal static Case Peer(string name, Func<Task> work) => new(name, _ => work(), IsCompiled: true);
}
