using System.Buffers;
using System.Threading.Channels;
using Boxer.Common;

namespace Boxer.Images.Layers;

/// <summary>Reads a stream ahead on another thread, so that download, hashing and decompression overlap with writing.</summary>
internal sealed class ReadAheadStream : ForwardStream
{
    private const int BufferBytes = 128 * 1024;
    private const int Buffers = 8;

    private readonly Stream _inner;
    private readonly Channel<byte[]> _free = Channel.CreateBounded<byte[]>(new BoundedChannelOptions(Buffers) { SingleReader = true, SingleWriter = true });
    private readonly Channel<ArraySegment<byte>> _filled =
        Channel.CreateBounded<ArraySegment<byte>>(new BoundedChannelOptions(Buffers) { SingleReader = true, SingleWriter = true });

    private readonly CancellationTokenSource _stop;
    private readonly Task _reading;
    private readonly List<byte[]> _buffers = [];
    private ArraySegment<byte> _current;
    private int _position;

    /// <summary>Starts reading.</summary>
    /// <param name="inner">The stream to read until this one is disposed; not disposed.</param>
    /// <param name="cancellationToken">Cancels the reading.</param>
    public ReadAheadStream(Stream inner, CancellationToken cancellationToken)
    {
        _inner = inner;
        _stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        _reading = Task.Run(FillAsync, CancellationToken.None);
    }

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (_position == _current.Count)
        {
            if (_current.Array is { } used)
            {
                _current = default;
                _position = 0;
                _free.Writer.TryWrite(used);
            }

            // A fault of reading ahead is thrown here, after all bytes before it.
            if (!await _filled.Reader.WaitToReadAsync(cancellationToken).ConfigureAwait(false))
            {
                return 0;
            }

            _filled.Reader.TryRead(out _current);
        }

        int length = Math.Min(buffer.Length, _current.Count - _position);
        _current.AsSpan(_position, length).CopyTo(buffer.Span);
        _position += length;
        return length;
    }

    /// <summary>Stops reading ahead, and waits for its end.</summary>
    public override async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _reading.ConfigureAwait(false);
        _stop.Dispose();
        _buffers.ForEach(buffer => ArrayPool<byte>.Shared.Return(buffer));
        _buffers.Clear();
        await base.DisposeAsync().ConfigureAwait(false);
    }

    private async Task FillAsync()
    {
        Exception? fault = null;
        try
        {
            int length;
            do
            {
                byte[] buffer = await TakeBufferAsync().ConfigureAwait(false);

                // Decompressors return a few bytes at a time. Half a buffer makes a hand-over worthwhile.
                length = await _inner.ReadAtLeastAsync(buffer.AsMemory(0, BufferBytes), BufferBytes / 2, throwOnEndOfStream: false, _stop.Token).ConfigureAwait(false);
                if (length > 0)
                {
                    await _filled.Writer.WriteAsync(new(buffer, 0, length), _stop.Token).ConfigureAwait(false);
                }
            }
            while (length > 0);
        }
        catch (Exception thrown)
        {
            fault = thrown;
        }

        _filled.Writer.Complete(fault);
    }

    // Most layers are small and need only one buffer.
    private async ValueTask<byte[]> TakeBufferAsync()
    {
        if (_free.Reader.TryRead(out byte[]? free))
        {
            return free;
        }

        if (_buffers.Count == Buffers)
        {
            return await _free.Reader.ReadAsync(_stop.Token).ConfigureAwait(false);
        }

        byte[] buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        _buffers.Add(buffer);
        return buffer;
    }
}
