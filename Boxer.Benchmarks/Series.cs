namespace Boxer.Benchmarks;

/// <summary>What was measured of one case.</summary>
internal sealed class Series(string name)
{
    private readonly List<double> _milliseconds = [];

    internal string Name { get; } = name;

    internal bool IsEmpty => _milliseconds.Count == 0;

    internal void Add(TimeSpan time) => _milliseconds.Add(time.TotalMilliseconds);

    /// <summary>The value that a share of all is not above (nearest rank), in milliseconds.</summary>
    internal double Percentile(double share)
    {
        double[] sorted = [.. _milliseconds.Order()];
        return sorted[Math.Max(0, (int)Math.Ceiling(share * sorted.Length) - 1)];
    }
}
