using Boxer.Images.Disk;
using Boxer.Images.Layers;
using Boxer.Images.Manifests;
using Boxer.Linux;
using Boxer.Native;
using Microsoft.Extensions.Logging;

namespace Boxer.Images.Roots;

/// <summary>Makes each root as one tree: the layers of the image are applied in order, and the top layer after them. Needs no privileges.</summary>
/// <param name="directory">The store's files.</param>
/// <param name="unpacker">Unpacks the layers.</param>
/// <param name="topLayerDirectory">The tree to put on top of every root; <see langword="null"/>: none.</param>
/// <param name="logger">Receives warnings about damaged layers.</param>
internal sealed class FlattenedRoots(ImageDirectory directory, LayerUnpacker unpacker, string? topLayerDirectory, ILogger logger) : ImageRoots
{
    private readonly byte[] _topLayer = TopLayerArchive.Pack(topLayerDirectory);

    /// <inheritdoc/>
    protected override async Task<ReadyImage> AddAsync(StoredImage image, FileLock hold, CancellationToken cancellationToken) =>
        Ready.Add(new(image, await FlattenAsync(image, cancellationToken).ConfigureAwait(false), hold));

    private async Task<string> FlattenAsync(StoredImage image, CancellationToken cancellationToken)
    {
        string target = directory.RootPath(image.Digest, ImageDigest.Sha256Of(_topLayer));
        if (Directory.Exists(target))
        {
            return target;
        }

        string temporary = directory.NewTemporaryPath();
        try
        {
            ImageDirectory.MakeRoot(temporary);
            await ApplyLayersAsync(image, temporary, cancellationToken).ConfigureAwait(false);
            await ApplyTopLayerAsync(temporary, cancellationToken).ConfigureAwait(false);
            ImageDirectory.Commit(temporary, target);
            return target;
        }
        catch
        {
            TreeRemover.Remove(temporary);
            throw;
        }
    }

    private async Task ApplyLayersAsync(StoredImage image, string target, CancellationToken cancellationToken)
    {
        // Runs of a stored image do not wait for the buffers of downloads.
        using PullMemory.Lease buffers = await unpacker.Memory.TakeStoredBuffersAsync(LayerUnpacker.BufferBytes, cancellationToken).ConfigureAwait(false);
        UnpackBudget budget = unpacker.NewBudget();
        foreach (ImageLayer layer in image.Layers)
        {
            try
            {
                FileStream file = File.OpenRead(directory.BlobPath(layer.Blob.Digest));
                await using (file.ConfigureAwait(false))
                {
                    using NameMemory names = new(unpacker.Memory);
                    await unpacker.UnpackAsync(file, layer, target, budget, names, null, cancellationToken).ConfigureAwait(false);
                }
            }
            catch (Exception fault) when (fault is InvalidDataException or RegistryException)
            {
                // The next pull must not find a blob that is damaged on this disk. An intact blob stays: another image may name it with the right diff id.
                await directory.RemoveIfDamagedAsync(layer.Blob, logger, cancellationToken).ConfigureAwait(false);
                throw;
            }
        }
    }

    private async Task ApplyTopLayerAsync(string target, CancellationToken cancellationToken)
    {
        using var archive = new MemoryStream(_topLayer, writable: false);
        await new LayerExtractor().ExtractAsync(
            archive,
            target,
            new() { Whiteouts = WhiteoutFormat.Applied, KeepOwners = Unistd.geteuid() == 0 },
            cancellationToken).ConfigureAwait(false);
    }
}
