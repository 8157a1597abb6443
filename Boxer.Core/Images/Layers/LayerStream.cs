using Boxer.Common;
using Boxer.Images.Manifests;

namespace Boxer.Images.Layers;

/// <summary>
/// A layer's archive out of its blob. Whoever has read it to its end has the bytes that the image names: size and digest of the blob and the
/// digest of the archive are verified by then, with all that is behind the end of the compressed data.
/// </summary>
internal sealed class LayerStream : ForwardStream
{
    private readonly VerifyingStream _blob;
    private readonly Stream _plain;
    private readonly VerifyingStream _archive;

    private LayerStream(VerifyingStream blob, Stream plain, VerifyingStream archive)
    {
        _blob = blob;
        _plain = plain;
        _archive = archive;
    }

    /// <summary>Opens it.</summary>
    /// <param name="body">The blob as it comes; not disposed.</param>
    /// <param name="layer">The layer.</param>
    /// <param name="came">Told of bytes of the blob as they are read; may throw.</param>
    /// <param name="unpacked">Told of bytes of the archive as they are read; may throw.</param>
    /// <param name="memory">Budget for the memory of decompression; <see langword="null"/> for none.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static async Task<LayerStream> OpenAsync(
        Stream body, ImageLayer layer, Action<int>? came, Action<int>? unpacked, PullMemory? memory, CancellationToken cancellationToken)
    {
        var blob = new VerifyingStream(body, layer.Blob.Digest, layer.Blob.Size, $"blob {layer.Blob.Digest}", came);
        try
        {
            Stream plain = await Decompression.OpenAsync(blob, memory, cancellationToken).ConfigureAwait(false);
            return new(blob, plain, new VerifyingStream(plain, layer.DiffId, null, $"the layer of blob {layer.Blob.Digest}", unpacked));
        }
        catch
        {
            await blob.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <inheritdoc/>
    /// <exception cref="RegistryException">The content is not what was named.</exception>
    /// <exception cref="InvalidDataException">The compressed data is malformed.</exception>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        int length = await _archive.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
        if (length == 0 && buffer.Length > 0)
        {
            await _blob.CompleteAsync(cancellationToken).ConfigureAwait(false);
        }

        return length;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _archive.Dispose();
            _plain.Dispose();
            _blob.Dispose();
        }

        base.Dispose(disposing);
    }
}
