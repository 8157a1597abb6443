using Boxer.Images.Disk;
using Boxer.Images.Layers;
using Boxer.Images.Manifests;
using Boxer.Linux;
using Microsoft.Extensions.Logging;

namespace Boxer.Images.Store;

/// <summary>Brings the layers of an image into the store: unpacked for overlay mounts, as blobs for flattened roots.</summary>
/// <param name="directory">The store's files.</param>
/// <param name="kind">How roots are made.</param>
/// <param name="unpacker">Unpacks layers.</param>
/// <param name="logger">Receives warnings about damaged layers.</param>
internal sealed class LayerFetcher(ImageDirectory directory, ImageRootKind kind, LayerUnpacker unpacker, ILogger logger)
{
    private const int ConcurrentLayers = 3;
    private const int CopyBytes = 128 * 1024;

    private bool KeepsUnpacked => kind == ImageRootKind.Overlay;

    // A blob that is stored as it is received only passes through a buffer.
    private long BufferBytes => KeepsUnpacked ? LayerUnpacker.BufferBytes : 2 * CopyBytes;

    /// <summary>Gets whether the store has a layer.</summary>
    /// <param name="layer">The layer.</param>
    public bool HasLayer(ImageLayer layer) => KeepsUnpacked
        ? Directory.Exists(directory.LayerPath(layer.DiffId))
        : File.Exists(directory.BlobPath(layer.Blob.Digest));

    /// <summary>Fetches the layers of an image that the store lacks or that the image's origin must prove to have.</summary>
    /// <param name="content">The image.</param>
    /// <param name="layers">Its layers.</param>
    /// <param name="isKnown">Whether the reference meant this image before, so that stored layers are used without proof.</param>
    /// <param name="progress">Receives the progress of each layer.</param>
    /// <param name="cancellationToken">Cancels the operation; complete layers are kept, incomplete ones are not.</param>
    /// <remarks>Downloads are not shared between images: a stalled origin would delay pulls of other images with the same layer.</remarks>
    public async Task FetchAsync(
        IImageContent content, IReadOnlyList<ImageLayer> layers, bool isKnown, IProgress<PullProgress> progress, CancellationToken cancellationToken)
    {
        UnpackBudget budget = unpacker.NewBudget();
        foreach (ImageLayer layer in layers.Where(layer => !KeepsUnpacked && HasLayer(layer)))
        {
            await directory.RemoveIfDamagedAsync(layer.Blob, logger, cancellationToken).ConfigureAwait(false);
        }

        foreach (ImageLayer layer in layers)
        {
            bool isReady = isKnown && HasLayer(layer);
            progress.Report(new(layer.Blob.Digest.ToString(), isReady ? layer.Blob.Size : 0, layer.Blob.Size, isReady));
        }

        await Parallel.ForEachAsync(
            layers.Where(layer => !isKnown || !HasLayer(layer)).DistinctBy(layer => (layer.DiffId, layer.Blob.Digest)),
            new ParallelOptions { MaxDegreeOfParallelism = ConcurrentLayers, CancellationToken = cancellationToken },
            async (layer, token) =>
            {
                var layerProgress = new LayerProgress(progress, layer.Blob);
                bool isStored = HasLayer(layer);
                if (!isStored || !await IsProvenAsync(content, layer, token).ConfigureAwait(false))
                {
                    await (isStored ? ProveAsync(content, layer, budget, layerProgress, token) : FetchAsync(content, layer, budget, layerProgress, token)).ConfigureAwait(false);
                    directory.AddOrigin(layer.Blob.Digest, Origin(content, layer));
                }

                layerProgress.Complete();
            }).ConfigureAwait(false);
    }

    // A stored layer that this origin has delivered before needs no further proof if the origin confirms that the repository still has the blob. The
    // word of any other origin proves nothing.
    private async Task<bool> IsProvenAsync(IImageContent content, ImageLayer layer, CancellationToken cancellationToken) =>
        directory.HasOrigin(layer.Blob.Digest, Origin(content, layer)) && await content.HasBlobAsync(layer.Blob, cancellationToken).ConfigureAwait(false);

    // A flattened store keeps the blob, and verifies the diff id at each use.
    private string Origin(IImageContent content, ImageLayer layer) => $"{(KeepsUnpacked ? layer.DiffId : "-")} {content.Origin}";

    /// <summary>Downloads and verifies a stored layer again, to prove that an origin has it: knowing a digest gives no right to the content.</summary>
    private async Task ProveAsync(IImageContent content, ImageLayer layer, UnpackBudget budget, LayerProgress progress, CancellationToken cancellationToken)
    {
        using PullMemory.Lease buffers = await unpacker.Memory.TakeBuffersAsync(BufferBytes, cancellationToken).ConfigureAwait(false);
        Stream body = await content.OpenBlobAsync(layer.Blob, cancellationToken).ConfigureAwait(false);
        await using (body.ConfigureAwait(false))
        {
            try
            {
                Stream verified = KeepsUnpacked
                    ? await LayerStream.OpenAsync(body, layer, progress.Add, length => budget.TakeArchive(length), unpacker.Memory, cancellationToken).ConfigureAwait(false)
                    : new VerifyingStream(body, layer.Blob.Digest, layer.Blob.Size, $"blob {layer.Blob.Digest}", progress.Add);
                await using (verified.ConfigureAwait(false))
                {
                    await verified.CopyToAsync(Stream.Null, CopyBytes, cancellationToken).ConfigureAwait(false);
                }
            }
            catch (InvalidDataException fault)
            {
                throw new InvalidDataException($"layer {layer.Blob.Digest}: {fault.Message}", fault);
            }
        }
    }

    private async Task FetchAsync(IImageContent content, ImageLayer layer, UnpackBudget budget, LayerProgress progress, CancellationToken cancellationToken)
    {
        using PullMemory.Lease buffers = await unpacker.Memory.TakeBuffersAsync(BufferBytes, cancellationToken).ConfigureAwait(false);
        string temporary = directory.NewTemporaryPath();
        try
        {
            Stream body = await content.OpenBlobAsync(layer.Blob, cancellationToken).ConfigureAwait(false);
            await using (body.ConfigureAwait(false))
            {
                if (KeepsUnpacked)
                {
                    ImageDirectory.MakeRoot(temporary);
                    using NameMemory names = new(unpacker.Memory);
                    ExtractedLayer extracted = await unpacker.UnpackAsync(body, layer, temporary, budget, names, progress.Add, cancellationToken).ConfigureAwait(false);
                    directory.CommitLayer(temporary, layer.DiffId, extracted.ImpliedDirectories);
                }
                else
                {
                    await DownloadAsync(body, layer.Blob, temporary, Count, cancellationToken).ConfigureAwait(false);
                    ImageDirectory.CommitFile(temporary, directory.BlobPath(layer.Blob.Digest));
                }
            }
        }
        catch
        {
            TreeRemover.Remove(temporary);
            throw;
        }

        void Count(int bytes)
        {
            progress.Add(bytes);
            budget.Write(bytes);
        }
    }

    private static async Task DownloadAsync(Stream body, ImageDescriptor blob, string target, Action<int> onRead, CancellationToken cancellationToken)
    {
        using var verifying = new VerifyingStream(body, blob.Digest, blob.Size, $"blob {blob.Digest}", onRead);
        try
        {
            var file = new FileStream(target, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1);
            await using (file.ConfigureAwait(false))
            {
                await verifying.CopyToAsync(file, CopyBytes, cancellationToken).ConfigureAwait(false);
                await verifying.CompleteAsync(cancellationToken).ConfigureAwait(false);
            }
        }
        catch (IOException fault)
        {
            throw new IOException($"layer {blob.Digest}: {fault.Message}", fault);
        }
    }
}
