using Boxer.Common;

namespace Boxer.Inputs;

/// <summary>Decompressed data. It throws when more than a number of bytes were read, and where the compressed data is damaged.</summary>
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
        int read;
        try
        {
            read = await content.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
        }
        catch (InvalidDataException exception)
        {
            throw new InvalidDataException("its gzip data is damaged or cut off", exception);
        }

        _left -= read;
        return _left >= 0 ? read : throw new InvalidDataException("unpacked it is larger than a workspace may be here");
    }
}
