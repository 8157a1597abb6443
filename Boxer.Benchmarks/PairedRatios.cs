namespace Boxer.Benchmarks;

/// <summary>
/// Measurements of two commits in pairs. The ratio of a pair is new / old: a value above 1 means that the new commit is slower. The confidence
/// interval of the median of the ratios is at least 95 %, for any distribution (binomial order statistics, as in the sign test).
/// </summary>
internal sealed class PairedRatios
{
    /// <summary>Minimum number of pairs for an interval of 95 %.</summary>
    internal const int MinPairs = 6;

    /// <summary>Maximum number of pairs. The probabilities of more do not fit into a double.</summary>
    internal const int MaxPairs = 1_000;

    /// <summary>Maximum ratio that does not count as slower.</summary>
    internal const double Tolerance = 1.05;

    // Probability outside each end of the interval.
    private const double TailProbability = 0.025;

    /// <param name="pairs">The measurements; <see cref="MinPairs"/> to <see cref="MaxPairs"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException">There are too few or too many pairs.</exception>
    internal PairedRatios(IReadOnlyCollection<(double Old, double New)> pairs)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(pairs.Count, MinPairs, nameof(pairs));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(pairs.Count, MaxPairs, nameof(pairs));
        double[] ratios = [.. pairs.Select(pair => pair.New / pair.Old).Order()];
        Count = ratios.Length;
        Old = Middle([.. pairs.Select(pair => pair.Old).Order()]);
        New = Middle([.. pairs.Select(pair => pair.New).Order()]);
        Median = Middle(ratios);
        int rank = Rank(Count);
        Lower = ratios[rank - 1];
        Upper = ratios[^rank];
    }

    /// <summary>Number of pairs.</summary>
    internal int Count { get; }

    /// <summary>Median of the old commit's measurements.</summary>
    internal double Old { get; }

    /// <summary>Median of the new commit's measurements.</summary>
    internal double New { get; }

    /// <summary>Median of the ratios.</summary>
    internal double Median { get; }

    /// <summary>Lower end of the interval.</summary>
    internal double Lower { get; }

    /// <summary>Upper end of the interval.</summary>
    internal double Upper { get; }

    /// <summary>Whether the whole interval is above <see cref="Tolerance"/>.</summary>
    internal bool IsSlower => Lower > Tolerance;

    /// <summary>
    /// Gets the rank, from either end, of the ratios that bound the interval: the largest k for which a fair coin that is tossed
    /// <paramref name="count"/> times shows less than k heads with a probability of at most 2.5 %.
    /// </summary>
    internal static int Rank(int count)
    {
        double probability = Math.Pow(0.5, count);
        double below = probability;
        int rank = 0;
        while (below <= TailProbability)
        {
            rank++;
            probability *= (double)(count - rank + 1) / rank;
            below += probability;
        }

        return rank;
    }

    private static double Middle(double[] sorted) => (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
}
