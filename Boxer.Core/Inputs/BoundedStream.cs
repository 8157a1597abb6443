using Boxer.Common;

namespace Boxer.Inputs;

/// <summary>Decompressed data with a maximum length. Reading beyond it fails, and so does damaged data.</summary>
/// <param name="content">The stream; not disposed.</param>
/// <param name="maxBytes">Maximum number of bytes.</param>
internal sealed class BoundedStream(Stream content, long maxBytes) : ForwardStream
{
    private long _left = maxBytes;

    /// <inheritdoc/>
    /// <exception cref="InvalidDataException">The data is longer, or damaged.</exception>
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
