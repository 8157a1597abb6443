using Boxer.Common;

namespace Boxer.Images.Layers;

/// <summary>Buffers a stream, so that the next bytes can be inspected before they are read.</summary>
/// <param name="content">The stream to read; not disposed.</param>
internal sealed class PeekStream(Stream content) : ForwardStream
{
    // Decompressors read a few KiB at a time. Larger reads are cheaper.
    private const int BufferSize = 128 * 1024;
    private readonly byte[] _buffer = new byte[BufferSize];
    private int _start;
    private int _end;

    /// <summary>Gets the next bytes without consuming them.</summary>
    /// <param name="length">Minimum number of bytes.</param>
    /// <param name="cancellationToken">Cancels the read.</param>
    /// <returns>All buffered bytes; fewer than the minimum only at the end of the stream.</returns>
    public async ValueTask<ReadOnlyMemory<byte>> PeekAsync(int length, CancellationToken cancellationToken)
    {
        if (_end - _start < length)
        {
            _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
            _end -= _start;
            _start = 0;
            _end += await content.ReadAtLeastAsync(_buffer.AsMemory(_end), length - _end, throwOnEndOfStream: false, cancellationToken).ConfigureAwait(false);
        }

        return _buffer.AsMemory(_start, _end - _start);
    }

    /// <summary>Consumes bytes that <see cref="PeekAsync"/> returned.</summary>
    /// <param name="length">Number of bytes.</param>
    public void Skip(int length) => _start += length;

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (_start == _end && buffer.Length >= _buffer.Length)
        {
            return await content.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
        }

        ReadOnlyMemory<byte> ahead = await PeekAsync(Math.Min(1, buffer.Length), cancellationToken).ConfigureAwait(false);
        int length = Math.Min(ahead.Length, buffer.Length);
        ahead[..length].CopyTo(buffer);
        _start += length;
        return length;
    }
}
