namespace Boxer.Tests.Core;

public sealed class ByteSizeTests
{
    [Theory]
    [InlineData(0, "0 bytes")]
    [InlineData(1, "1 byte")]
    [InlineData(-1, "-1 byte")]
    [InlineData(1_000, "1000 bytes")]
    [InlineData(64 * ByteSize.KiB, "64 KiB")]
    [InlineData(256 * ByteSize.MiB, "256 MiB")]
    [InlineData((256 * ByteSize.MiB) + 1, "268435457 bytes")]
    [InlineData(1_536 * ByteSize.MiB, "1536 MiB")]
    [InlineData(64 * ByteSize.GiB, "64 GiB")]
    [InlineData(ByteSize.TiB, "1 TiB")]
    [InlineData(long.MaxValue, "9223372036854775807 bytes")]
    public void Format_writes_a_size_exactly_in_its_largest_unit(long bytes, string text) => Assert.Equal(text, ByteSize.Format(bytes));

    [Theory]
    [InlineData(1_000, "1000 bytes")]
    [InlineData((3 * ByteSize.MiB) + 1_000, "3 MiB")]
    [InlineData((2 * ByteSize.GiB) + ByteSize.KiB, "2 GiB")]
    public void Round_drops_what_is_less_than_a_MiB(long bytes, string text) => Assert.Equal(text, ByteSize.Round(bytes));
}
