using Boxer.Common;

namespace Boxer.Fuzz;

/// <summary>A stream as the store of images gives it: it cannot seek, and its length is bounded.</summary>
/// <param name="content">What is read.</param>
/// <param name="mostAtOnce">The bytes that a read gives.</param>
/// <param name="most">The bytes that all reads give.</param>
internal sealed class LimitedStream(Stream content, int mostAtOnce, long most) : ForwardStream
{
    private long _read;

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        int length = await content.ReadAsync(buffer[..Math.Min(buffer.Length, mostAtOnce)], cancellationToken);
        _read += length;
        return _read <= most ? length : throw new InvalidDataException("the layer is too long");
    }
}
