using Boxer.Images.Disk;
using Boxer.Images.Layers;
using Boxer.Images.Manifests;
using Boxer.Linux;

namespace Boxer.Images.Roots;

/// <summary>Mounts each root with overlayfs, from layers that are unpacked once and shared by images.</summary>
/// <param name="directory">The store's files.</param>
/// <param name="mountDirectory">The directory of the mount points.</param>
/// <param name="topLayerDirectory">The tree to put on top of every root; <see langword="null"/>: none.</param>
/// <param name="unpacker">Has the limits of an image.</param>
internal sealed class OverlayRoots(ImageDirectory directory, string mountDirectory, string? topLayerDirectory, LayerUnpacker unpacker) : ImageRoots
{
    private readonly OverlayMounts _mounts = new(mountDirectory);

    /// <inheritdoc/>
    protected override async Task<ReadyImage> AddAsync(StoredImage image, FileLock hold, CancellationToken cancellationToken)
    {
        IReadOnlyList<string> layers = await CollectLayersAsync(image, cancellationToken).ConfigureAwait(false);

        // A removal of content unmounts unused roots: the lock keeps it away until the root is in use.
        using FileLock shared = await directory.Locks.ShareAsync(cancellationToken).ConfigureAwait(false);
        return Ready.Add(new(image, Mount(image, layers), hold));
    }

    /// <inheritdoc/>
    protected override void Unmake(ReadyImage image) => _mounts.Unmount(image.Image.Digest.Hex);

    /// <inheritdoc/>
    protected override IReadOnlyList<string> UnmakeAll() => _mounts.UnmountAll();

    private string Mount(StoredImage image, IReadOnlyList<string> layers)
    {
        try
        {
            return _mounts.Mount(image.Digest.Hex, layers);
        }
        catch (IOException fault)
        {
            throw new SandboxRuntimeException($"The root of {image.Digest} could not be mounted: {fault.Message}", fault);
        }
    }

    /// <summary>Collects the directories that a root is mounted from, from the top down.</summary>
    private async Task<IReadOnlyList<string>> CollectLayersAsync(StoredImage image, CancellationToken cancellationToken)
    {
        List<ImageLayer> shown = ShownLayers(image);
        List<string> directories = [.. shown.Select(layer => directory.LayerPath(layer.DiffId))];
        if (shown.Count > 1 && shown.Any(layer => File.Exists(directory.ImpliedPath(layer.DiffId))))
        {
            string implied = await MakeImpliedAsync(image.Digest, shown, cancellationToken).ConfigureAwait(false);
            if (Directory.EnumerateFileSystemEntries(implied).Any())
            {
                directories.Insert(0, implied);
            }
        }

        if (topLayerDirectory is not null)
        {
            directories.Insert(0, topLayerDirectory);
        }

        // Without an upper directory overlayfs requires two lower ones.
        for (int i = 0; directories.Count < 2; i++)
        {
            directories.Add(directory.MakeEmptyLayer(i));
        }

        return directories;
    }

    // From the top down. The topmost occurrence of a repeated layer counts: it hides everything that the layer could add further down, and overlayfs
    // rejects the same directory twice.
    private List<ImageLayer> ShownLayers(StoredImage image)
    {
        var shown = new List<ImageLayer>();
        foreach (ImageLayer layer in image.Layers.Reverse().DistinctBy(layer => layer.DiffId))
        {
            shown.Add(layer);

            // overlayfs merges the root directories of all layers. Under a layer whose root directory is opaque nothing shows.
            if (OpaqueDirectory.IsMarked(directory.LayerPath(layer.DiffId)))
            {
                break;
            }
        }

        return shown;
    }

    /// <summary>Makes the tree that restores owners and modes of implied directories.</summary>
    /// <returns>The tree's path.</returns>
    private async Task<string> MakeImpliedAsync(ImageDigest image, IReadOnlyList<ImageLayer> layers, CancellationToken cancellationToken)
    {
        string target = directory.ImpliedRootPath(image);
        if (Directory.Exists(target))
        {
            return target;
        }

        // All layers are read together here, and this pull has taken no memory for the names of layers that were stored before.
        long memory = 0;
        foreach (ImageLayer layer in layers)
        {
            (long count, long bytes) = directory.CountImplied(layer.DiffId);
            memory += ImpliedDirectories.MemoryOf(count, bytes);
        }

        using PullMemory.Lease lease = await unpacker.Memory.TakeImpliedAsync(memory, cancellationToken).ConfigureAwait(false);
        string temporary = directory.NewTemporaryPath();
        try
        {
            ImageDirectory.MakeRoot(temporary);
            using (var directories = new ImpliedDirectories([.. layers.Select(layer => new LayerTree(directory.LayerPath(layer.DiffId), directory.ReadImplied(layer.DiffId)))]))
            {
                directories.Make(temporary, unpacker.NewBudget(), cancellationToken);
            }

            ImageDirectory.Commit(temporary, target);
            return target;
        }
        catch
        {
            TreeRemover.Remove(temporary);
            throw;
        }
    }
}
