using System.Diagnostics;

namespace Boxer.Benchmarks;

/// <summary>Many callers at once.</summary>
/// <param name="Rate">How many calls a second were answered rightly.</param>
/// <param name="Lost">How many failed or were answered wrongly.</param>
/// <param name="Times">How long the right answers took.</param>
internal sealed record Load(double Rate, int Lost, Series Times)
{
    /// <summary>Calls until so many calls were made.</summary>
    /// <param name="name">What tables call it.</param>
    /// <param name="callers">Callers at once; each waits for its answer before its next call.</param>
    /// <param name="calls">Calls of all together.</param>
    /// <param name="call">Calls once, and tells whether the answer is right.</param>
    internal static async Task<Load> RunAsync(string name, int callers, int calls, Func<Task<bool>> call)
    {
        int left = calls;
        int right = 0;
        var times = new Series(name);
        long start = Stopwatch.GetTimestamp();
        await Task.WhenAll(Enumerable.Range(0, callers).Select(_ => Task.Run(async () =>
        {
            while (Interlocked.Decrement(ref left) >= 0)
            {
                Interruption.ThrowIfAsked();
                long begin = Stopwatch.GetTimestamp();
                if (await IsRightAsync(call).ConfigureAwait(false))
                {
                    TimeSpan time = Stopwatch.GetElapsedTime(begin);
                    lock (times)
                    {
                        right++;
                        times.Add(time);
                    }
                }
            }
        }))).ConfigureAwait(false);
        return new Load(right / Stopwatch.GetElapsedTime(start).TotalSeconds, calls - right, times);
    }

    private static async Task<bool> IsRightAsync(Func<Task<bool>> call)
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

    /// <summary>Its cells in a table with <see cref="Columns"/>.</summary>
    /// <param name="bare">How many a second a bare <c>runsc run</c> makes.</param>
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
