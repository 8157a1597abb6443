namespace Boxer.Benchmarks;

/// <summary>The measured times of one case.</summary>
internal sealed class Series(string name)
{
    private readonly List<double> _milliseconds = [];

    internal string Name { get; } = name;

    internal bool IsEmpty => _milliseconds.Count == 0;

    internal void Add(TimeSpan time) => _milliseconds.Add(time.TotalMilliseconds);

    /// <summary>The percentile by nearest rank, in milliseconds.</summary>
    /// <param name="share">The share of the times that are not above it; 0.5 is the median.</param>
    internal double Percentile(double share)
    {
        double[] sorted = [.. _milliseconds.Order()];
        return sorted[Math.Max(0, (int)Math.Ceiling(share * sorted.Length) - 1)];
    }
}
