namespace Boxer.Runtime.Kept;

/// <summary>The content of one file of a tree. A writer of tar archives needs to know its length, and reads it to its end.</summary>
/// <param name="channel">The channel, after the entry.</param>
/// <param name="size">Size of the file.</param>
/// <param name="path">Path of the operation, for exceptions.</param>
internal sealed class FileContentStream(FileChannel channel, long size, string path) : Stream
{
    private ReadOnlyMemory<byte> _data;
    private long _position;

    /// <inheritdoc/>
    public override bool CanRead => true;

    /// <inheritdoc/>
    public override bool CanSeek => true;

    /// <inheritdoc/>
    public override bool CanWrite => false;

    /// <inheritdoc/>
    public override long Length => size;

    /// <inheritdoc/>
    public override long Position
    {
        get => _position;
        set => throw new NotSupportedException();
    }

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (_data.IsEmpty && _position < size)
        {
            _data = await channel.ReadAsync(cancellationToken).ConfigureAwait(false) switch
            {
                FileData data when data.Data.Length <= size - _position => data.Data,
                FileFailed failed => throw FileTurn.Failure(failed, path),
                var other => throw FileChannel.Violation($"it sent {other.GetType().Name} instead of the content of a file."),
            };
        }

        int count = Math.Min(_data.Length, buffer.Length);
        _data[..count].CopyTo(buffer);
        _data = _data[count..];
        _position += count;
        return count;
    }

    /// <inheritdoc/>
    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void Flush()
    {
    }

    /// <inheritdoc/>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void SetLength(long value) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}
