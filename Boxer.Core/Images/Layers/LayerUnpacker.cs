using Boxer.Images.Manifests;
using Boxer.Linux;
using Boxer.Native;

namespace Boxer.Images.Layers;

/// <summary>Unpacks layers of images straight from their blobs, within the limits of one store.</summary>
/// <param name="extractor">Unpacks the archives.</param>
/// <param name="whiteouts">How whiteouts are unpacked.</param>
/// <param name="maxBytes">Maximum bytes that the layers of one image may unpack to.</param>
/// <param name="maxEntries">Maximum number of files, directories and links in the layers of one image.</param>
/// <param name="freeSpace">Free space that must remain on the disk.</param>
/// <param name="memory">Memory budget of pulls and imports.</param>
internal sealed class LayerUnpacker(
    ILayerExtractor extractor, WhiteoutFormat whiteouts, long maxBytes, int maxEntries, FreeDiskSpace freeSpace, PullMemory memory)
{
    /// <summary>
    /// Memory in bytes that unpacking one layer takes beside the window of its decompressor: bytes read ahead, the decompressor's input and the first
    /// file names.
    /// </summary>
    public const long BufferBytes = 3L << 20;

    /// <summary>Memory budget of pulls and imports.</summary>
    public PullMemory Memory => memory;

    /// <summary>Creates the budget of one image.</summary>
    public UnpackBudget NewBudget() => new(maxBytes, maxEntries, freeSpace);

    /// <summary>Unpacks a layer in one pass. Digest and size of the blob, and the diff id, are verified before this returns.</summary>
    /// <param name="blob">The blob as it is received; not disposed.</param>
    /// <param name="layer">The layer.</param>
    /// <param name="target">The directory to unpack into.</param>
    /// <param name="budget">Budget of the image.</param>
    /// <param name="names">Memory of the layer's file names.</param>
    /// <param name="onRead">Called with the number of bytes of each read of the blob; may throw. <see langword="null"/>: not reported.</param>
    /// <param name="cancellationToken">Cancels the operation; the target is left incomplete.</param>
    /// <exception cref="InvalidDataException">The layer is malformed or rejected.</exception>
    /// <exception cref="IOException">A file cannot be written.</exception>
    /// <exception cref="RegistryException">The blob or the archive has another digest or size than the manifest names.</exception>
    public async Task<ExtractedLayer> UnpackAsync(
        Stream blob, ImageLayer layer, string target, UnpackBudget budget, NameMemory names, Action<int>? onRead, CancellationToken cancellationToken)
    {
        try
        {
            LayerStream archive = await LayerStream.OpenAsync(blob, layer, onRead, length => budget.TakeArchive(length), memory, cancellationToken).ConfigureAwait(false);
            await using (archive.ConfigureAwait(false))
            {
                var ahead = new ReadAheadStream(archive, cancellationToken);
                await using (ahead.ConfigureAwait(false))
                {
                    ExtractedLayer extracted = await extractor.ExtractAsync(
                        ahead,
                        target,
                        new()
                        {
                            Whiteouts = whiteouts,
                            KeepOwners = Unistd.geteuid() == 0,
                            MaxEntries = maxEntries,
                            MaxBytes = maxBytes,
                            Budget = budget,
                            Names = names,
                        },
                        cancellationToken).ConfigureAwait(false);

                    // The digests also cover bytes that the extractor did not read.
                    await ahead.CopyToAsync(Stream.Null, cancellationToken).ConfigureAwait(false);
                    return extracted;
                }
            }
        }
        catch (InvalidDataException fault)
        {
            throw new InvalidDataException($"layer {layer.Blob.Digest}: {fault.Message}", fault);
        }
        catch (IOException fault)
        {
            throw new IOException($"layer {layer.Blob.Digest}: {fault.Message}", fault);
        }
    }
}
