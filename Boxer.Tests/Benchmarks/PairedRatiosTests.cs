using Boxer.Benchmarks;

namespace Boxer.Tests.Benchmarks;

/// <summary>Tests of the statistics of <c>./bench.sh --against</c>, with data whose results are known.</summary>
public sealed class PairedRatiosTests
{
    /// <summary>Ranks from published tables of the sign test for 95 %.</summary>
    [Theory]
    [InlineData(6, 1)]
    [InlineData(8, 1)]
    [InlineData(9, 2)]
    [InlineData(10, 2)]
    [InlineData(12, 3)]
    [InlineData(20, 6)]
    [InlineData(25, 8)]
    [InlineData(50, 18)]
    [InlineData(60, 22)]
    [InlineData(100, 40)]
    [InlineData(1_000, 469)]
    public void Rank_equals_that_of_the_sign_test(int count, int rank) => Assert.Equal(rank, PairedRatios.Rank(count));

    [Fact]
    public void PairedRatios_has_the_median_and_the_interval_by_rank()
    {
        // The ratios are 1.01 to 1.20, in random order. The old values differ by a factor of 1,000, so that a ratio of medians would be wrong.
        (double, double)[] pairs = [.. Enumerable.Range(1, 20).Select(i => i * 8 % 21).Select(i => (Old: i % 2 == 0 ? 1.0 : 1_000.0, Ratio: 1 + (i / 100.0)))
            .Select(pair => (pair.Old, pair.Old * pair.Ratio))];

        var ratios = new PairedRatios(pairs);

        Assert.Equal(20, ratios.Count);
        Assert.Equal(1.105, ratios.Median, 9);
        Assert.Equal(1.06, ratios.Lower, 9);
        Assert.Equal(1.15, ratios.Upper, 9);
        Assert.True(ratios.IsSlower);
        Assert.Equal((1 + 1_000) / 2.0, ratios.Old, 9);
    }

    [Theory]
    [InlineData(1.0, false)]
    [InlineData(1.05, false)]
    [InlineData(1.051, true)]
    public void IsSlower_only_if_the_whole_interval_is_above_the_tolerance(double lowest, bool isSlower)
    {
        // Ten pairs: the interval begins at the second smallest ratio.
        (double, double)[] pairs = [(1, 0.5), (1, lowest), .. Enumerable.Repeat((1.0, 2.0), 8)];

        Assert.Equal(isSlower, new PairedRatios(pairs).IsSlower);
    }

    [Fact]
    public void IsSlower_is_false_for_equal_measurements()
    {
        var ratios = new PairedRatios([.. Enumerable.Range(1, 60).Select(i => ((double)i, (double)i))]);

        Assert.Equal((1.0, 1.0, 1.0, false), (ratios.Lower, ratios.Median, ratios.Upper, ratios.IsSlower));
    }

    [Theory]
    [InlineData(5)]
    [InlineData(1_001)]
    public void PairedRatios_rejects_numbers_of_pairs_without_an_interval(int count) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new PairedRatios([.. Enumerable.Repeat((1.0, 1.0), count)]));
}
