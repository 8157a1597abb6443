using System.Collections.Concurrent;
using Boxer.Images.Disk;
using Boxer.Images.Manifests;
using Boxer.Linux;

namespace Boxer.Images.Store;

/// <summary>Finds the content that belongs to each image of a store, and measures it.</summary>
/// <param name="directory">The store's files.</param>
internal sealed class ImageInventory(ImageDirectory directory)
{
    // Content in place does not change.
    private readonly ConcurrentDictionary<string, long> _sizes = new(StringComparer.Ordinal);

    /// <summary>Lists the images, ordered by reference.</summary>
    public IReadOnlyList<ImageInfo> List() =>
    [
        .. directory.References.ReadAll()
            .Select(reference => (reference, contents: FindContents(reference.Manifest)))
            .Where(image => image.contents is not null)
            .Select(image => new ImageInfo(image.reference.Reference.ToString(), image.reference.Manifest.ToString(), image.contents!.Sum(Measure), image.reference.LastUsed))
            .OrderBy(image => image.Reference, StringComparer.Ordinal),
    ];

    /// <summary>Measures an image on the disk.</summary>
    /// <param name="manifest">Digest of its manifest.</param>
    /// <returns>Bytes; 0 if the image cannot be read.</returns>
    public long Measure(ImageDigest manifest) => FindContents(manifest)?.Sum(Measure) ?? 0;

    /// <summary>Measures all content in advance, so that sizes are known while the store is locked.</summary>
    public void MeasureAll()
    {
        foreach (string content in directory.Contents())
        {
            try
            {
                _ = Measure(content);
            }
            catch (IOException)
            {
                // The content was removed meanwhile.
            }
        }
    }

    /// <summary>Measures content on the disk.</summary>
    /// <param name="content">Its path.</param>
    /// <returns>Bytes; 0 if it does not exist.</returns>
    public long Measure(string content)
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

    /// <summary>Forgets the size of content that was removed.</summary>
    /// <param name="content">Its path.</param>
    public void Forget(string content) => _sizes.TryRemove(content, out _);

    /// <summary>Finds the content of an image.</summary>
    /// <param name="manifest">Digest of its manifest.</param>
    /// <returns>Paths, including those of content that does not exist yet; <see langword="null"/> if the image cannot be read.</returns>
    public IReadOnlyList<string>? FindContents(ImageDigest manifest)
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
            // Another version of Boxer stored it by other rules. It is pulled again when it is needed.
            return null;
        }
    }
}
