using System.IO.Compression;

namespace Boxer.Images;

/// <summary>Decompresses layers by what they begin with: gzip (RFC 1952), zstd (RFC 8878), or neither.</summary>
internal static class Decompression
{
    private const int MagicLength = 4;

    // Decompressors ask for a few KiB at a time: what is below them is asked for more.
    private const int BufferSize = 128 * 1024;

    // A frame may ask for a window of gigabytes: more than what zstd's own program takes by default is refused.
    private const int MaxWindowLog = 27;

    /// <summary>Opens what a stream holds.</summary>
    /// <param name="content">The stream; not disposed.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static async Task<Stream> OpenAsync(Stream content, CancellationToken cancellationToken)
    {
        var whole = new BufferingStream(content);
        ReadOnlyMemory<byte> start = await whole.PeekAsync(MagicLength, cancellationToken).ConfigureAwait(false);
        return start.Span switch
        {
            [0x1f, 0x8b, ..] => new GZipStream(whole, CompressionMode.Decompress, leaveOpen: true),
            [0x28, 0xb5, 0x2f, 0xfd, ..] or [>= 0x50 and <= 0x5f, 0x2a, 0x4d, 0x18, ..] => new ZstdStream(whole, MaxWindowLog),
            _ => whole,
        };
    }

    /// <summary>Whether what <see cref="OpenAsync"/> gave decompresses.</summary>
    /// <param name="opened">What it gave.</param>
    public static bool IsCompressed(Stream opened) => opened is not BufferingStream;

    /// <summary>Reads ahead, as much as is there.</summary>
    private sealed class BufferingStream(Stream content) : ForwardStream
    {
        private readonly byte[] _buffer = new byte[BufferSize];
        private int _start;
        private int _end;

        /// <summary>What comes first: fewer bytes only where there are no more.</summary>
        public async ValueTask<ReadOnlyMemory<byte>> PeekAsync(int length, CancellationToken cancellationToken)
        {
            _end = await content.ReadAtLeastAsync(_buffer, length, throwOnEndOfStream: false, cancellationToken).ConfigureAwait(false);
            return _buffer.AsMemory(0, Math.Min(_end, length));
        }

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (_start == _end)
            {
                if (buffer.Length >= _buffer.Length)
                {
                    return await content.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
                }

                _start = 0;
                _end = await content.ReadAsync(_buffer, cancellationToken).ConfigureAwait(false);
            }

            int length = Math.Min(_end - _start, buffer.Length);
            _buffer.AsSpan(_start, length).CopyTo(buffer.Span);
            _start += length;
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
            // The library looks at it only where it needs more to read, and a little can be much.
            cancellationToken.ThrowIfCancellationRequested();
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
