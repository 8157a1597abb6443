using Boxer.Diagnostics;
using Boxer.Images.Disk;
using Boxer.Images.Roots;
using Boxer.Linux;
using Microsoft.Extensions.Logging;

namespace Boxer.Images.Store;

/// <summary>
/// Removes images and content that no image needs. It holds the exclusive lock of the store meanwhile, so that no process adds content or looks
/// for it.
/// </summary>
/// <param name="options">Quota, directory and logger of the store.</param>
/// <param name="directory">The store's files.</param>
/// <param name="inventory">The content of each image.</param>
/// <param name="ready">Images that this process has ready.</param>
internal sealed class ImageGarbageCollector(ImageStoreOptions options, ImageDirectory directory, ImageInventory inventory, ReadyImages ready)
{
    private const int Attempts = 20;
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(50);
    private readonly ILogger _logger = options.LoggerFactory.CreateLogger(ImageLog.Category);
    private volatile bool _isBehind;

    /// <summary>Removes unfinished content of dead processes.</summary>
    public void RemoveAbandoned()
    {
        int count = 0;
        foreach (ClaimedDirectory abandoned in directory.ClaimAbandoned())
        {
            using (abandoned)
            {
                OverlayMounts.UnmountBelow(abandoned.Path);
                TreeRemover.Remove(abandoned.Path);
                abandoned.Forget();
                count++;
            }
        }

        if (count > 0)
        {
            ImageLog.RemovedAbandoned(_logger, count, options.Home);
        }
    }

    /// <summary>Removes references, and content that no other image needs. Images in use stay.</summary>
    /// <param name="isUnwanted">Whether a reference is to be removed.</param>
    /// <param name="cancellationToken">Cancels the wait for other users of the store.</param>
    public async Task<CollectedImages> CollectAsync(Func<StoredReference, bool> isUnwanted, CancellationToken cancellationToken)
    {
        while (true)
        {
            if (await Task.Run(() => TryCollect(isUnwanted, null), cancellationToken).ConfigureAwait(false) is { } result)
            {
                return result;
            }

            await Task.Delay(Interval, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Removes content that no image needs, and unused images beyond the quota. While others keep using the store it stops after a second, and
    /// <see cref="CollectAfterAddingAsync"/> tries again.
    /// </summary>
    public async Task TryCollectAsync()
    {
        try
        {
            for (int attempt = 0; attempt < Attempts; attempt++)
            {
                if (TryCollect(_ => false, options.MaxImageStoreBytes) is not null)
                {
                    _isBehind = false;
                    return;
                }

                await Task.Delay(Interval, TimeProvider.System).ConfigureAwait(false);
            }

            _isBehind = true;
        }
        catch (IOException fault)
        {
            ImageLog.NotCollected(_logger, fault);
        }
    }

    /// <summary>Collects after an image was added, if there is a quota or an earlier collection could not run.</summary>
    public Task CollectAfterAddingAsync() => options.MaxImageStoreBytes is not null || _isBehind ? TryCollectAsync() : Task.CompletedTask;

    /// <summary>Rejects an image that is larger than the quota of the whole store.</summary>
    /// <param name="reference">The image.</param>
    /// <param name="image">Digest of its manifest.</param>
    /// <exception cref="ImagePullException">The image is larger than the quota.</exception>
    public Task RejectBeyondQuotaAsync(ImageReference reference, ImageDigest image) => options.MaxImageStoreBytes is not { } quota
        ? Task.CompletedTask
        : Task.Run(() =>
        {
            long needs = inventory.Measure(image);
            if (needs > quota)
            {
                string message = $"The image {reference} takes {needs} bytes on the disk, more than the {quota} that all images may take here.";
                throw new ImagePullException(message) { PublicMessage = message };
            }
        });

    /// <returns><see langword="null"/> while others use the store.</returns>
    private CollectedImages? TryCollect(Func<StoredReference, bool> isUnwanted, long? quota)
    {
        var result = new CollectedImages();
        if (quota is not null)
        {
            inventory.MeasureAll();
        }

        try
        {
            using FileLock? exclusive = directory.Locks.TryTakeExclusive();
            if (exclusive is null)
            {
                return null;
            }

            new Collection(directory, inventory, ready, result).Run(isUnwanted, quota);
        }
        finally
        {
            // Deleting takes long, and needs no lock.
            foreach (string discarded in result.Discarded)
            {
                TreeRemover.Remove(discarded);
            }
        }

        if (result.Discarded.Count > 0)
        {
            ImageLog.Collected(_logger, result.Removed.Count, result.Bytes);
        }

        return result;
    }

    /// <summary>One collection, under the exclusive lock of the store.</summary>
    private sealed class Collection(ImageDirectory directory, ImageInventory inventory, ReadyImages ready, CollectedImages result)
    {
        // The content of an image does not change under the lock.
        private readonly Dictionary<ImageDigest, IReadOnlyList<string>?> _contents = [];

        public void Run(Func<StoredReference, bool> isUnwanted, long? quota)
        {
            foreach (string root in directory.ObsoleteRoots().ToList())
            {
                Discard(root);
            }

            List<StoredReference> staying = RemoveUnwanted(isUnwanted);
            if (quota is not null)
            {
                RemoveBeyond(quota.Value, staying);
            }

            if (FindNeeded(staying) is { } needed)
            {
                foreach (string content in directory.Contents().Where(content => !needed.Contains(directory.OwnerOf(content))))
                {
                    Discard(content);
                }
            }
        }

        /// <returns>References that stay.</returns>
        private List<StoredReference> RemoveUnwanted(Func<StoredReference, bool> isUnwanted)
        {
            List<StoredReference> staying = [];
            foreach (StoredReference reference in directory.References.ReadAll())
            {
                if ((isUnwanted(reference) || FindContents(reference.Manifest) is null) && IsIdle(reference.Manifest))
                {
                    Remove(reference);
                }
                else
                {
                    staying.Add(reference);
                }
            }

            return staying;
        }

        // The least recently used first.
        private void RemoveBeyond(long quota, List<StoredReference> staying)
        {
            foreach (IGrouping<ImageDigest, StoredReference> image in staying.GroupBy(reference => reference.Manifest).OrderBy(image => image.Max(reference => reference.LastUsed)).ToList())
            {
                if (FindNeeded(staying) is not { } needed || needed.Sum(inventory.Measure) <= quota)
                {
                    break;
                }

                if (IsIdle(image.Key))
                {
                    foreach (StoredReference reference in image)
                    {
                        Remove(reference);
                        staying.Remove(reference);
                    }
                }
            }
        }

        private bool IsIdle(ImageDigest manifest) => ready.TryRetire(manifest) && !directory.Locks.IsHeld(manifest);

        /// <returns>
        /// Content that must stay. <see langword="null"/> if it is not known, because the manifest of an image in use is damaged or follows the
        /// rules of another version: then everything stays until the image is idle.
        /// </returns>
        private HashSet<string>? FindNeeded(List<StoredReference> references)
        {
            // A held image may have no reference any more: its tag may mean another image by now.
            ImageDigest[] referred = [.. references.Select(reference => reference.Manifest).Distinct()];
            IEnumerable<ImageDigest> held = directory.Locks.Holds().Except(referred).Where(manifest => !IsIdle(manifest));
            var needed = new HashSet<string>(StringComparer.Ordinal);
            foreach (ImageDigest manifest in referred.Concat(held))
            {
                if (FindContents(manifest) is not { } contents)
                {
                    return null;
                }

                needed.UnionWith(contents);
                needed.Add(directory.RootOwner(manifest));
            }

            return needed;
        }

        private IReadOnlyList<string>? FindContents(ImageDigest manifest) =>
            _contents.TryGetValue(manifest, out IReadOnlyList<string>? contents) ? contents : _contents[manifest] = inventory.FindContents(manifest);

        private void Discard(string content)
        {
            long size = inventory.Measure(content);
            result.Discarded.Add(directory.Discard(content));
            result.Bytes += size;
            inventory.Forget(content);
        }

        private void Remove(StoredReference reference)
        {
            directory.References.Remove(reference.Reference);
            result.Removed.Add(reference);
        }
    }
}

/// <summary>Images and content that a collection removed.</summary>
internal sealed class CollectedImages
{
    /// <summary>References that were removed.</summary>
    public List<StoredReference> Removed { get; } = [];

    /// <summary>Content that was moved away from its final path, and is then deleted.</summary>
    public List<string> Discarded { get; } = [];

    /// <summary>Bytes on the disk that this freed.</summary>
    public long Bytes { get; set; }
}
