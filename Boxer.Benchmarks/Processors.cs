using System.Globalization;

namespace Boxer.Benchmarks;

/// <summary>What the processors of this machine do.</summary>
internal static class Processors
{
    private static readonly TimeSpan Watch = TimeSpan.FromSeconds(4);

    /// <summary>Watches them for 4 s.</summary>
    /// <returns>How busy they are, in percent of one.</returns>
    internal static async Task<double> BusyAsync()
    {
        (long idle, long all) first = Read();
        await Task.Delay(Watch).ConfigureAwait(false);
        (long idle, long all) second = Read();
        return 100.0 * Environment.ProcessorCount * (1 - ((double)(second.idle - first.idle) / (second.all - first.all)));
    }

    private static (long Idle, long All) Read()
    {
        long[] numbers = [.. File.ReadLines("/proc/stat").First().Split(' ', StringSplitOptions.RemoveEmptyEntries)[1..9].Select(text => long.Parse(text, CultureInfo.InvariantCulture))];
        return (numbers[3] + numbers[4], numbers.Sum());
    }
}
