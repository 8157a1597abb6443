using Boxer.Common;

namespace Boxer.Runtime.Kept;

/// <summary>The content of a file that a worker sends. Disposing it before its end ends the worker.</summary>
/// <param name="channel">The channel, after the file was opened.</param>
/// <param name="size">Size of the file when it was opened. No more bytes follow.</param>
/// <param name="path">The file, for exceptions.</param>
/// <param name="turn">The operation; disposed with the stream.</param>
internal sealed class FileReadStream(FileChannel channel, long size, string path, FileTurn turn) : ForwardStream
{
    private ReadOnlyMemory<byte> _data;
    private long _left = size;
    private bool _isOver;

    /// <inheritdoc/>
    /// <exception cref="GuestFileException">The file cannot be read further.</exception>
    /// <exception cref="IOException">The worker has ended.</exception>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (_data.IsEmpty && !_isOver && buffer.Length > 0)
        {
            FileAnswer answer = await channel.ReadAsync(cancellationToken).ConfigureAwait(false);
            if (answer is FileData data && data.Data.Length <= _left)
            {
                _data = data.Data;
                _left -= data.Data.Length;
            }
            else
            {
                _isOver = true;
                turn.Complete(answer, path);
            }
        }

        int count = Math.Min(_data.Length, buffer.Length);
        _data[..count].CopyTo(buffer);
        _data = _data[count..];
        return count;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _data = default;
        _isOver = true;
        turn.Dispose();
        base.Dispose(disposing);
    }
}
