using Boxer.Common;
using Microsoft.Win32.SafeHandles;
using ZstdSharp.Unsafe;

namespace Boxer.Images.Layers;

/// <summary>
/// Decompresses zstd frames one after the other. The header of a frame tells how much memory it needs, and the budget is charged before the
/// decompressor allocates.
/// </summary>
/// <param name="content">The compressed data; not disposed.</param>
/// <param name="memory">Memory budget; <see langword="null"/>: unlimited.</param>
internal sealed class ZstdStream(PeekStream content, PullMemory? memory) : ForwardStream
{
    // Memory beside the window: the decompressor's tables, one input block, and two output blocks.
    private const long DecoderBytes = 1L << 20;
    private const int MaxWindowLog = 27;

    private Decoder? _decoder;
    private PullMemory.Lease? _lease;
    private long _capacity;
    private bool _isInFrame;

    /// <inheritdoc/>
    /// <exception cref="InvalidDataException">The data is malformed, or needs too much memory.</exception>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (buffer.Length > 0)
        {
            // A few compressed bytes can expand for a long time without another read of the input.
            cancellationToken.ThrowIfCancellationRequested();
            if (!_isInFrame && !await BeginFrameAsync(cancellationToken).ConfigureAwait(false))
            {
                return 0;
            }

            ReadOnlyMemory<byte> input = await content.PeekAsync(1, cancellationToken).ConfigureAwait(false);
            bool isEnd = _decoder!.Decompress(input.Span, buffer.Span, out int consumed, out int written);
            content.Skip(consumed);
            _isInFrame = !isEnd;
            if (written > 0)
            {
                return written;
            }

            if (consumed == 0 && !isEnd)
            {
                throw ZstdFrame.CutOff();
            }
        }

        return 0;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            Release();
        }

        base.Dispose(disposing);
    }

    private async ValueTask<bool> BeginFrameAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            ReadOnlyMemory<byte> start = await content.PeekAsync(ZstdFrame.MaxHeaderBytes, cancellationToken).ConfigureAwait(false);
            if (start.Length == 0)
            {
                return false;
            }

            if (!ZstdFrame.IsSkippable(start.Span))
            {
                await TakeAsync(ZstdFrame.Read(start.Span).WindowBytes + DecoderBytes, cancellationToken).ConfigureAwait(false);
                return _isInFrame = true;
            }

            for (long left = ZstdFrame.SkippableBytes(start.Span); left > 0;)
            {
                ReadOnlyMemory<byte> skipped = await content.PeekAsync(1, cancellationToken).ConfigureAwait(false);
                int length = skipped.Length > 0 ? (int)Math.Min(skipped.Length, left) : throw ZstdFrame.CutOff();
                content.Skip(length);
                left -= length;
            }
        }
    }

    // A decompressor keeps its memory from frame to frame. Before a larger frame it is released: a layer that waits for a window must hold none.
    private async ValueTask TakeAsync(long bytes, CancellationToken cancellationToken)
    {
        if (_decoder is not null && bytes <= _capacity)
        {
            return;
        }

        Release();
        _lease = memory is null ? null : await memory.TakeWindowAsync(bytes, cancellationToken).ConfigureAwait(false);
        _capacity = bytes;
        _decoder = new Decoder(MaxWindowLog);
    }

    private void Release()
    {
        _decoder?.Dispose();
        _decoder = null;
        _lease?.Dispose();
        _lease = null;
    }

    /// <summary>The library's streaming decompressor, which stops at the end of a frame.</summary>
    private sealed unsafe class Decoder : SafeHandleZeroOrMinusOneIsInvalid
    {
        public Decoder(int maxWindowLog)
            : base(ownsHandle: true)
        {
            SetHandle((nint)Methods.ZSTD_createDCtx());
            if (IsInvalid)
            {
                throw new IOException("there is no memory for a zstd decompressor");
            }

            Check(Methods.ZSTD_DCtx_setParameter(Context, ZSTD_dParameter.ZSTD_d_windowLogMax, maxWindowLog));
        }

        private ZSTD_DCtx_s* Context => (ZSTD_DCtx_s*)handle;

        /// <returns>Whether the frame is at its end.</returns>
        public bool Decompress(ReadOnlySpan<byte> source, Span<byte> target, out int consumed, out int written)
        {
            fixed (byte* from = source)
            fixed (byte* to = target)
            {
                var input = new ZSTD_inBuffer_s { src = from, size = (nuint)source.Length };
                var output = new ZSTD_outBuffer_s { dst = to, size = (nuint)target.Length };
                nuint left = Check(Methods.ZSTD_decompressStream(Context, &output, &input));
                consumed = (int)input.pos;
                written = (int)output.pos;
                return left == 0;
            }
        }

        protected override bool ReleaseHandle() => !Methods.ZSTD_isError(Methods.ZSTD_freeDCtx(Context));

        private static nuint Check(nuint result) => Methods.ZSTD_isError(result)
            ? throw new InvalidDataException($"the zstd data is malformed: {Methods.ZSTD_getErrorName(result)}")
            : result;
    }
}
