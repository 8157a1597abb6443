using Boxer.Common;
namespace Boxer.Images.Layers;

/// <summary>Reads ahead, as much as is there, so that what comes next can be looked at.</summary>
/// <param name="content">The stream to read; not disposed.</param>
internal sealed class PeekStream(Stream content) : ForwardStream
{
    // Decompressors ask for a few KiB at a time; larger reads cost less.
    private const int BufferSize = 128 * 1024;
    private readonly byte[] _buffer = new byte[BufferSize];
    private int _start;
    private int _end;

    /// <summary>Looks at what comes next.</summary>
    /// <param name="length">The bytes wanted at least.</param>
    /// <param name="cancellationToken">Cancels the read.</param>
    /// <returns>All that was read ahead: fewer bytes than wanted only where there are no more.</returns>
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

    /// <summary>Passes over bytes that were looked at.</summary>
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
