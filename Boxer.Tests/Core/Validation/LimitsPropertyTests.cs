using Boxer.Validation;
using CsCheck;
using static Boxer.Tests.Support.Generators;

namespace Boxer.Tests.Core.Validation;

/// <summary><see cref="LimitsValidator"/> with random limits.</summary>
public sealed class LimitsPropertyTests
{
    private static readonly Gen<double?> Cores = Gen.OneOf(Gen.Double, Gen.Double[0, 2_000], Pick(double.NaN, double.PositiveInfinity, double.NegativeInfinity, -0.0, 0.01, 1_024, double.Epsilon)).Nullable();
    private static readonly Gen<int?> Numbers = Around(32, 1, 32_768, 8, 1 << 20, 1_000_000).Nullable();
    private static readonly Gen<long?> Sizes = Gen.OneOf(Gen.Long, Gen.Long[-2, 100], Pick(32 * ByteSize.MiB, (32 * ByteSize.MiB) - 1, ByteSize.MiB, ByteSize.MiB - 1, ByteSize.TiB, ByteSize.TiB + 1, 1L << 30, (1L << 30) + 1, 64L << 30, (64L << 30) + 1, long.MinValue, long.MaxValue)).Nullable();
    private static readonly Gen<TimeSpan?> Times = Gen.OneOf(Gen.Long, Gen.Long[-2, TimeSpan.TicksPerDay + 2], Pick(TimeSpan.TicksPerMillisecond, 10 * TimeSpan.TicksPerMillisecond, TimeSpan.TicksPerDay)).Select(TimeSpan.FromTicks).Nullable();

    private static readonly Gen<ResourceLimits> Limits = Gen.Select(
        Gen.Select(Cores, Times, Times),
        Gen.Select(Numbers, Numbers, Numbers),
        Gen.Select(Sizes, Sizes, Sizes, Sizes),
        (first, numbers, sizes) => new ResourceLimits
        {
            CpuCores = first.Item1,
            WallClock = first.Item2,
            CpuTime = first.Item3,
            MemoryBytes = sizes.Item3,
            Pids = numbers.Item1,
            OpenFiles = numbers.Item2,
            DiskBytes = sizes.Item4,
            OutputFilesCount = numbers.Item3,
            StandardOutputBytes = sizes.Item1,
            OutputFilesBytes = sizes.Item2,
        });

    [Fact]
    public void LimitsValidator_Validate_names_exactly_the_limits_that_are_out_of_range() =>
        Limits.Sample(
            limits =>
            {
                // The ranges documented in ResourceLimits.
                (string Name, bool IsIn)[] expected =
                [
                    ("CpuCores", limits.CpuCores is null or (>= 0.01 and <= 1_024)),
                    ("MemoryBytes", limits.MemoryBytes is null or (>= 32 * ByteSize.MiB and <= ByteSize.TiB)),
                    ("Pids", limits.Pids is null or (>= 1 and <= 32_768)),
                    ("WallClock", limits.WallClock is null || (limits.WallClock >= TimeSpan.FromMilliseconds(1) && limits.WallClock <= TimeSpan.FromDays(1))),
                    ("CpuTime", limits.CpuTime is null || (limits.CpuTime >= TimeSpan.FromMilliseconds(10) && limits.CpuTime <= TimeSpan.FromDays(1))),
                    ("OpenFiles", limits.OpenFiles is null or (>= 8 and <= 1_048_576)),
                    ("DiskBytes", limits.DiskBytes is null or (>= ByteSize.MiB and <= ByteSize.TiB)),
                    ("StandardOutputBytes", limits.StandardOutputBytes is null or (>= 1 and <= 1_073_741_824)),
                    ("OutputFilesBytes", limits.OutputFilesBytes is null or (>= 1 and <= 68_719_476_736)),
                    ("OutputFilesCount", limits.OutputFilesCount is null or (>= 1 and <= 1_000_000)),
                ];
                Assert.Equal(expected.Where(one => !one.IsIn).Select(one => "Limits." + one.Name), LimitsValidator.Validate(limits, "Limits").Select(fault => fault.Field));
            },
            iter: 20_000);

    [Fact]
    public void LimitsValidator_Fill_replaces_only_null() =>
        Gen.Select(Limits, Limits).Sample(
            (limits, defaults) =>
            {
                ResourceLimits all = LimitsValidator.Fill(limits, LimitsValidator.Fill(defaults, LimitDefaults.Values));
                Assert.All(typeof(ResourceLimits).GetProperties(), property =>
                    Assert.Equal(property.GetValue(limits) ?? property.GetValue(defaults) ?? property.GetValue(LimitDefaults.Values), property.GetValue(all)));
            },
            iter: 2_000);

    [Fact]
    public void LimitsValidator_FindAbove_names_exactly_the_limits_above_the_maximum() =>
        Gen.Select(Limits, Limits).Sample(
            (limits, ceiling) =>
            {
                string[] named = [.. LimitsValidator.FindAbove(limits, ceiling, "Limits").Select(fault => fault.Field)];
                Assert.Equal(
                    typeof(ResourceLimits).GetProperties()
                        .Where(property => property.GetValue(limits) is IComparable limit && property.GetValue(ceiling) is { } most && limit.CompareTo(most) > 0 && !IsNoNumber(limit) && !IsNoNumber(most))
                        .Select(property => "Limits." + property.Name).Order(StringComparer.Ordinal),
                    named.Order(StringComparer.Ordinal));
            },
            iter: 20_000);

    // NaN compares false with everything, and is out of the range.
    private static bool IsNoNumber(object value) => value is double.NaN;

    private static Gen<int> Around(params int[] edges) =>
        Gen.OneOf(Gen.Int, Gen.Int[-2, 100], Pick([.. edges.SelectMany(edge => (int[])[edge - 1, edge, edge + 1]), int.MinValue, int.MaxValue]));
}
