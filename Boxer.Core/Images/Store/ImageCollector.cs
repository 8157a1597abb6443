using System.Collections.Concurrent;
using Boxer.Linux;

namespace Boxer.Images;

/// <summary>
/// Finds what of a store belongs to which image, and removes what belongs to none. Where something is removed, the caller holds the store
/// alone (<see cref="ImageDirectory.TryLock"/>), so that nobody adds to it or looks for it meanwhile.
/// </summary>
/// <param name="directory">The store's files.</param>
/// <param name="retire">Makes this process give an image up; tells whether it had no use for it.</param>
internal sealed class ImageCollector(ImageDirectory directory, Func<ImageDigest, bool> retire)
{
    // What is in place does not change.
    private readonly ConcurrentDictionary<string, long> _sizes = new(StringComparer.Ordinal);

    /// <summary>What was found and removed.</summary>
    /// <param name="Removed">References that are gone.</param>
    /// <param name="Discarded">What was taken out of its place; still to be removed, without the lock.</param>
    /// <param name="Bytes">What that frees.</param>
    internal sealed record Result(IReadOnlyList<StoredReference> Removed, IReadOnlyList<string> Discarded, long Bytes);

    /// <summary>All images.</summary>
    public IReadOnlyList<ImageInfo> List() =>
    [
        .. directory.ReadReferences()
            .Select(reference => (reference, contents: Reach(reference.Manifest)))
            .Where(image => image.contents is not null)
            .Select(image => new ImageInfo(image.reference.Reference.ToString(), image.reference.Manifest.ToString(), image.contents!.Sum(Size), image.reference.LastUsed))
            .OrderBy(image => image.Reference, StringComparer.Ordinal),
    ];

    /// <summary>What an image takes on the disk.</summary>
    /// <param name="manifest">The digest of its manifest.</param>
    public long Measure(ImageDigest manifest) => Reach(manifest)?.Sum(Size) ?? 0;

    /// <summary>Removes references, and then all that no image needs that is referred to or held.</summary>
    /// <param name="isToGo">Whether a reference is to go, unless its image is in use.</param>
    /// <param name="quota">Bytes that what stays may have; beyond it images go that nobody uses, the longest unused first.</param>
    public Result Collect(Func<StoredReference, bool> isToGo, long? quota)
    {
        var removed = new List<StoredReference>();
        List<StoredReference> staying = [];
        foreach (StoredReference reference in directory.ReadReferences())
        {
            if (Reach(reference.Manifest) is null || (isToGo(reference) && IsIdle(reference.Manifest)))
            {
                Remove(reference);
            }
            else
            {
                staying.Add(reference);
            }
        }

        foreach (IGrouping<ImageDigest, StoredReference> image in staying.GroupBy(reference => reference.Manifest).OrderBy(image => image.Max(reference => reference.LastUsed)).ToList())
        {
            if (quota is null || Needed(staying).Sum(Size) <= quota)
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

        HashSet<string> needed = Needed(staying);
        long bytes = 0;
        var discarded = new List<string>();
        foreach (string content in directory.Contents().Where(content => !needed.Contains(content)))
        {
            bytes += Size(content);
            _sizes.TryRemove(content, out _);
            discarded.Add(directory.Discard(content));
        }

        return new(removed, discarded, bytes);

        void Remove(StoredReference reference)
        {
            directory.RemoveReference(reference.Reference);
            removed.Add(reference);
        }
    }

    private bool IsIdle(ImageDigest manifest) => retire(manifest) && !directory.IsHeld(manifest);

    // A tag may mean another image by now than the one that somebody still uses.
    private HashSet<string> Needed(IReadOnlyList<StoredReference> references)
    {
        ImageDigest[] referred = [.. references.Select(reference => reference.Manifest).Distinct()];
        IEnumerable<ImageDigest> held = directory.Holds().Except(referred).Where(manifest => !IsIdle(manifest));
        return referred.Concat(held).SelectMany(manifest => Reach(manifest) ?? []).ToHashSet(StringComparer.Ordinal);
    }

    private long Size(string content) => _sizes.GetOrAdd(content, TreeSize.Measure);

    /// <returns>The contents of an image; <see langword="null"/> where it is not whole.</returns>
    private List<string>? Reach(ImageDigest manifest)
    {
        if (directory.ReadBlob(manifest) is not { } content)
        {
            return null;
        }

        try
        {
            if (ImageManifest.Read(content, null, ImagePlatform.Current, out _) is not { } image || directory.ReadBlob(image.Config.Digest) is not { } config)
            {
                return null;
            }

            image.ReadConfig(config, null, out IReadOnlyList<ImageLayer> layers);
            return
            [
                directory.BlobPath(manifest),
                directory.BlobPath(image.Config.Digest),
                .. layers.SelectMany(layer => (string[])[directory.LayerPath(layer.DiffId), directory.ImpliedPath(layer.DiffId), directory.BlobPath(layer.Blob.Digest)]).Where(Path.Exists),
                .. directory.Roots(manifest),
            ];
        }
        catch (RegistryException)
        {
            // Of other rules than these: it is pulled afresh where it is wanted.
            return null;
        }
    }
}
