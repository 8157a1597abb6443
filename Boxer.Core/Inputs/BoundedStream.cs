using Boxer.Images;

namespace Boxer.Inputs;

/// <summary>A stream that may be read up to a number of bytes: what is behind them is a fault, however much it is.</summary>
/// <param name="content">The stream; not disposed.</param>
/// <param name="most">The number.</param>
internal sealed class BoundedStream(Stream content, long most) : ForwardStream
{
    private long _left = most;

    /// <inheritdoc/>
    /// <exception cref="InvalidDataException">There is more.</exception>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        int read = await content.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
        _left -= read;
        return _left >= 0 ? read : throw new InvalidDataException("unpacked it is larger than a workspace may be here");
    }
}
