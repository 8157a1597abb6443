using System.Globalization;

namespace Boxer.Benchmarks;

/// <summary>Measures the processors of this machine.</summary>
internal static class Processors
{
    private static readonly TimeSpan Duration = TimeSpan.FromSeconds(4);

    /// <summary>Measures for 4 s how busy the processors are.</summary>
    /// <returns>Used processor time, in percent of one processor.</returns>
    internal static async Task<double> MeasureBusyAsync()
    {
        (long idle, long all) first = Read();
        await Task.Delay(Duration).ConfigureAwait(false);
        (long idle, long all) second = Read();
        return 100.0 * Environment.ProcessorCount * (1 - ((double)(second.idle - first.idle) / (second.all - first.all)));
    }

    private static (long Idle, long All) Read()
    {
        long[] numbers = [.. File.ReadLines("/proc/stat").First().Split(' ', StringSplitOptions.RemoveEmptyEntries)[1..9].Select(text => long.Parse(text, CultureInfo.InvariantCulture))];
        return (numbers[3] + numbers[4], numbers.Sum());
    }
}
