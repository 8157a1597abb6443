using Boxer.Common;
using Boxer.Images.Manifests;

namespace Boxer.Images.Layers;

/// <summary>
/// The archive of a layer, decompressed from its blob. A read of its end verifies the size and digest of the blob and the digest of the archive,
/// including bytes of the blob after the compressed data.
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

    /// <summary>Opens the archive of a layer.</summary>
    /// <param name="body">The blob, not verified; not disposed.</param>
    /// <param name="layer">The layer.</param>
    /// <param name="onRead">Called with the number of bytes of each read of the blob; may throw.</param>
    /// <param name="onUnpacked">Called with the number of bytes of each read of the archive; may throw.</param>
    /// <param name="memory">Memory budget of decompression; <see langword="null"/>: unlimited.</param>
    /// <param name="cancellationToken">Cancels the read of the first bytes.</param>
    public static async Task<LayerStream> OpenAsync(
        Stream body, ImageLayer layer, Action<int>? onRead, Action<int>? onUnpacked, PullMemory? memory, CancellationToken cancellationToken)
    {
        var blob = new VerifyingStream(body, layer.Blob.Digest, layer.Blob.Size, $"blob {layer.Blob.Digest}", onRead);
        try
        {
            Stream plain = await Decompression.OpenAsync(blob, memory, cancellationToken).ConfigureAwait(false);
            return new(blob, plain, new VerifyingStream(plain, layer.DiffId, null, $"the layer of blob {layer.Blob.Digest}", onUnpacked));
        }
        catch
        {
            await blob.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <inheritdoc/>
    /// <exception cref="RegistryException">The content has another size or digest.</exception>
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
