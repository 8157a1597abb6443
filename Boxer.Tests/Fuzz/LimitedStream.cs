using Boxer.Common;

namespace Boxer.Fuzz;

/// <summary>Limits a stream like the image store does: it cannot seek, and its length is bounded.</summary>
/// <param name="content">The stream to read.</param>
/// <param name="mostAtOnce">Maximum number of bytes of one read.</param>
/// <param name="most">Maximum number of bytes of all reads together.</param>
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
