using Boxer.Common;
using Boxer.Images.Layers;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Images.Layers;

[LongTests]
public sealed class LayerEntryLimitTests : IDisposable
{
    private readonly ScratchDirectory _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public async Task ExtractAsync_rejects_more_than_a_million_entries()
    {
        Directory.CreateDirectory(_scratch["root"]);

        // Whiteouts of nothing are the cheapest entries.
        byte[] whiteout = new Archive().File(".wh.absent").ToEntries();
        using var endless = new RepeatedStream(whiteout, 1_000_001);

        InvalidDataException fault = await Assert.ThrowsAsync<InvalidDataException>(() => new LayerExtractor().ExtractAsync(
            endless, _scratch["root"], new() { Whiteouts = WhiteoutFormat.Applied, KeepOwners = false }, TestContext.Current.CancellationToken));

        Assert.Contains("the layer has more than 1000000 files, directories and links", fault.Message, StringComparison.Ordinal);
    }

    /// <summary>The same bytes repeated.</summary>
    private sealed class RepeatedStream(byte[] part, long times) : ForwardStream
    {
        private long _left = part.Length * times;

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            int done = 0;
            while (done < buffer.Length && _left > 0)
            {
                ReadOnlySpan<byte> rest = part.AsSpan((int)((part.Length - (_left % part.Length)) % part.Length));
                rest = rest[..Math.Min(rest.Length, buffer.Length - done)];
                rest.CopyTo(buffer.Span[done..]);
                done += rest.Length;
                _left -= rest.Length;
            }

            return ValueTask.FromResult(done);
        }
    }
}
