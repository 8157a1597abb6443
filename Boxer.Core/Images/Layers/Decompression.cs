using System.IO.Compression;

namespace Boxer.Images.Layers;

/// <summary>Decompresses layers by what they begin with: gzip (RFC 1952), zstd (RFC 8878), or neither.</summary>
internal static class Decompression
{
    private const int MagicLength = 4;

    /// <summary>Opens what a stream holds.</summary>
    /// <param name="content">The stream; not disposed.</param>
    /// <param name="memory">Budget for the windows of zstd; <see langword="null"/> for none.</param>
    /// <param name="cancellationToken">Cancels the read of the first bytes.</param>
    public static async Task<Stream> OpenAsync(Stream content, PullMemory? memory, CancellationToken cancellationToken)
    {
        var whole = new PeekStream(content);
        ReadOnlyMemory<byte> start = await whole.PeekAsync(MagicLength, cancellationToken).ConfigureAwait(false);
        return start.Span is [0x1f, 0x8b, ..] ? new GZipStream(whole, CompressionMode.Decompress, leaveOpen: true)
            : ZstdFrame.IsFrame(start.Span) || ZstdFrame.IsSkippable(start.Span) ? new ZstdStream(whole, memory)
            : whole;
    }

    /// <summary>Whether what <see cref="OpenAsync"/> gave decompresses.</summary>
    /// <param name="opened">What it gave.</param>
    public static bool IsCompressed(Stream opened) => opened is not PeekStream;
}
