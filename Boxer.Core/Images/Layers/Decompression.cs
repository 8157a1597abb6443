using System.IO.Compression;

namespace Boxer.Images.Layers;

/// <summary>Decompresses layers. The first bytes tell the format: gzip (RFC 1952), zstd (RFC 8878), or neither.</summary>
internal static class Decompression
{
    private const int MagicLength = 4;

    /// <summary>Opens the uncompressed content of a stream.</summary>
    /// <param name="content">The stream; not disposed.</param>
    /// <param name="memory">Memory budget of zstd windows; <see langword="null"/>: unlimited.</param>
    /// <param name="cancellationToken">Cancels the read of the first bytes.</param>
    public static async Task<Stream> OpenAsync(Stream content, PullMemory? memory, CancellationToken cancellationToken)
    {
        var whole = new PeekStream(content);
        ReadOnlyMemory<byte> start = await whole.PeekAsync(MagicLength, cancellationToken).ConfigureAwait(false);
        return start.Span is [0x1f, 0x8b, ..] ? new GZipStream(whole, CompressionMode.Decompress, leaveOpen: true)
            : ZstdFrame.IsFrame(start.Span) || ZstdFrame.IsSkippable(start.Span) ? new ZstdStream(whole, memory)
            : whole;
    }

    /// <summary>Gets whether a stream was compressed.</summary>
    /// <param name="opened">The stream that <see cref="OpenAsync"/> returned.</param>
    public static bool IsCompressed(Stream opened) => opened is not PeekStream;
}
