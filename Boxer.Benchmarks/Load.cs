using System.Diagnostics;

namespace Boxer.Benchmarks;

/// <summary>The result of calls by many concurrent callers.</summary>
/// <param name="Rate">Correct results per second.</param>
/// <param name="Lost">Number of calls that failed or had a wrong result.</param>
/// <param name="Times">Times of the calls with a correct result.</param>
internal sealed record Load(double Rate, int Lost, Series Times)
{
    /// <summary>Makes a number of calls.</summary>
    /// <param name="name">Name in tables.</param>
    /// <param name="callers">Number of concurrent callers; each makes one call at a time.</param>
    /// <param name="calls">Number of calls of all callers together.</param>
    /// <param name="call">Makes a call, and returns whether the result is correct.</param>
    internal static async Task<Load> RunAsync(string name, int callers, int calls, Func<Task<bool>> call)
    {
        int left = calls;
        int correct = 0;
        var times = new Series(name);
        long start = Stopwatch.GetTimestamp();
        await Task.WhenAll(Enumerable.Range(0, callers).Select(_ => Task.Run(async () =>
        {
            while (Interlocked.Decrement(ref left) >= 0)
            {
                Interruption.ThrowIfRequested();
                long begin = Stopwatch.GetTimestamp();
                if (await IsCorrectAsync(call).ConfigureAwait(false))
                {
                    TimeSpan time = Stopwatch.GetElapsedTime(begin);
                    lock (times)
                    {
                        correct++;
                        times.Add(time);
                    }
                }
            }
        }))).ConfigureAwait(false);
        return new Load(correct / Stopwatch.GetElapsedTime(start).TotalSeconds, calls - correct, times);
    }

    private static async Task<bool> IsCorrectAsync(Func<Task<bool>> call)
    {
        try
        {
            return await call().ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is SandboxException or HttpRequestException or OperationCanceledException)
        {
            return false;
        }
    }

    /// <summary>The cells of a row in a table with <see cref="Columns"/>.</summary>
    /// <param name="bare">Runs per second of a bare <c>runsc run</c>.</param>
    internal IEnumerable<string> Cells(double bare) =>
    [
        Times.Name,
        $"{Rate:0.0}",
        $"{Rate / bare:0.00}",
        .. Times.IsEmpty ? ["", "", ""] : ((double[])[0.5, 0.95, 0.99]).Select(share => $"{Times.Percentile(share):0}"),
        $"{Lost}",
    ];

    /// <summary>The columns after the first.</summary>
    internal static IReadOnlyList<string> Columns { get; } = ["/s", "ratio", "p50 ms", "p95 ms", "p99 ms", "lost or wrong"];
}
