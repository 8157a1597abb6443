using System.IO.Compression;

namespace Boxer.Images;

/// <summary>Decompresses layers by what they begin with: gzip (RFC 1952), zstd (RFC 8878), or neither.</summary>
internal static class Decompression
{
    private const int MagicLength = 4;

    // A frame may ask for a window of gigabytes: more than what zstd's own program takes by default is refused.
    private const int MaxWindowLog = 27;

    /// <summary>Opens what a stream holds.</summary>
    /// <param name="content">The stream; not disposed.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static async Task<Stream> OpenAsync(Stream content, CancellationToken cancellationToken)
    {
        var start = new byte[MagicLength];
        int length = await content.ReadAtLeastAsync(start, MagicLength, throwOnEndOfStream: false, cancellationToken).ConfigureAwait(false);
        var whole = new PrefixedStream(start.AsMemory(0, length), content);
        return start switch
        {
            [0x1f, 0x8b, ..] => new GZipStream(whole, CompressionMode.Decompress, leaveOpen: true),
            [0x28, 0xb5, 0x2f, 0xfd] or [>= 0x50 and <= 0x5f, 0x2a, 0x4d, 0x18] => new ZstdStream(whole, MaxWindowLog),
            _ => whole,
        };
    }

    /// <summary>Whether what <see cref="OpenAsync"/> gave decompresses.</summary>
    /// <param name="opened">What it gave.</param>
    public static bool IsCompressed(Stream opened) => opened is not PrefixedStream;

    /// <summary>Bytes that were read already, and then the rest.</summary>
    private sealed class PrefixedStream(ReadOnlyMemory<byte> start, Stream rest) : ForwardStream
    {
        private ReadOnlyMemory<byte> _start = start;

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (_start.Length == 0 || buffer.Length == 0)
            {
                return await rest.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
            }

            int length = Math.Min(_start.Length, buffer.Length);
            _start[..length].CopyTo(buffer);
            _start = _start[length..];
            return length;
        }
    }

    /// <summary>The library's stream, with its faults as those of the other kinds.</summary>
    private sealed class ZstdStream : ForwardStream
    {
        private readonly ZstdSharp.DecompressionStream _inner;

        public ZstdStream(Stream content, int maxWindowLog)
        {
            _inner = new ZstdSharp.DecompressionStream(content, leaveOpen: true);
            _inner.SetParameter(ZstdSharp.Unsafe.ZSTD_dParameter.ZSTD_d_windowLogMax, maxWindowLog);
        }

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            try
            {
                return await _inner.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
            }
            catch (ZstdSharp.ZstdException fault)
            {
                throw new InvalidDataException($"the zstd data is malformed: {fault.Message}", fault);
            }
            catch (EndOfStreamException fault)
            {
                throw new InvalidDataException("the zstd data is cut off", fault);
            }
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                _inner.Dispose();
            }

            base.Dispose(disposing);
        }
    }
}
