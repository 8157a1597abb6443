using System.Collections.Concurrent;
using Boxer.Images.Manifests;
using Boxer.Linux;

namespace Boxer.Images.Store;

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

    /// <summary>What was found and removed, also where the removing failed half-way.</summary>
    internal sealed class Result
    {
        /// <summary>References that are gone.</summary>
        public List<StoredReference> Removed { get; } = [];

        /// <summary>What was taken out of its place; still to be removed, without the lock.</summary>
        public List<string> Discarded { get; } = [];

        /// <summary>What that frees.</summary>
        public long Bytes { get; set; }
    }

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

    /// <summary>Measures what is kept, so that it is known when nobody else may add anything.</summary>
    public void MeasureAhead()
    {
        foreach (string content in directory.Contents())
        {
            try
            {
                _ = Size(content);
            }
            catch (IOException)
            {
                // It was taken out of its place meanwhile.
            }
        }
    }

    /// <summary>Removes references, and then all that no image needs that is referred to or held.</summary>
    /// <param name="isToGo">Whether a reference is to go, unless its image is in use.</param>
    /// <param name="quota">Bytes that what stays may have; beyond it images go that nobody uses, the longest unused first.</param>
    /// <param name="result">What was removed.</param>
    public void Collect(Func<StoredReference, bool> isToGo, long? quota, Result result)
    {
        foreach (string content in directory.ObsoleteRoots().ToList())
        {
            Discard(content);
        }

        // Nothing changes meanwhile.
        var known = new Dictionary<ImageDigest, List<string>?>();
        List<StoredReference> staying = [];
        foreach (StoredReference reference in directory.ReadReferences())
        {
            if ((isToGo(reference) || ReachOnce(reference.Manifest) is null) && IsIdle(reference.Manifest))
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
            if (quota is null || Needed(staying, ReachOnce) is not { } stay || stay.Sum(Size) <= quota)
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

        if (Needed(staying, ReachOnce) is not { } needed)
        {
            return;
        }

        foreach (string content in directory.Contents().Where(content => !needed.Contains(directory.OwnerOf(content))))
        {
            Discard(content);
        }

        List<string>? ReachOnce(ImageDigest manifest) => known.TryGetValue(manifest, out List<string>? contents) ? contents : known[manifest] = Reach(manifest);

        void Discard(string content)
        {
            long size = Size(content);
            result.Discarded.Add(directory.Discard(content));
            result.Bytes += size;
            _sizes.TryRemove(content, out _);
        }

        void Remove(StoredReference reference)
        {
            directory.RemoveReference(reference.Reference);
            result.Removed.Add(reference);
        }
    }

    private bool IsIdle(ImageDigest manifest) => retire(manifest) && !directory.IsHeld(manifest);

    /// <returns>
    /// What must stay; <see langword="null"/> where it is not known, because an image is in use whose manifest is damaged or of another
    /// version's rules: then all stays until it is not.
    /// </returns>
    private HashSet<string>? Needed(IReadOnlyList<StoredReference> references, Func<ImageDigest, List<string>?> reach)
    {
        // A tag may mean another image by now than the one that somebody still uses.
        ImageDigest[] referred = [.. references.Select(reference => reference.Manifest).Distinct()];
        IEnumerable<ImageDigest> held = directory.Holds().Except(referred).Where(manifest => !IsIdle(manifest));
        var needed = new HashSet<string>(StringComparer.Ordinal);
        foreach (ImageDigest manifest in referred.Concat(held))
        {
            if (reach(manifest) is not { } contents)
            {
                return null;
            }

            needed.UnionWith(contents);
            needed.Add(directory.RootOwner(manifest));
        }

        return needed;
    }

    private long Size(string content)
    {
        if (_sizes.TryGetValue(content, out long known))
        {
            return known;
        }

        long size = TreeSize.Measure(content);
        if (Path.Exists(content))
        {
            _sizes[content] = size;
        }

        return size;
    }

    /// <returns>The contents that an image has, or will have; <see langword="null"/> where it cannot be read.</returns>
    private List<string>? Reach(ImageDigest manifest)
    {
        if (directory.ReadBlob(manifest, ImageContent.MaxManifestBytes) is not { } content)
        {
            return null;
        }

        try
        {
            if (ImageManifest.Read(content, null, ImagePlatform.Current, out _) is not { } image || directory.ReadBlob(image.Config.Digest, image.Config.Size) is not { } config)
            {
                return null;
            }

            image.ReadConfig(config, null, out IReadOnlyList<ImageLayer> layers);
            return
            [
                directory.BlobPath(manifest),
                directory.BlobPath(image.Config.Digest),
                .. layers.SelectMany(layer => (string[])[directory.LayerPath(layer.DiffId), directory.ImpliedPath(layer.DiffId), directory.BlobPath(layer.Blob.Digest), directory.OriginsPath(layer.Blob.Digest)]),
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
