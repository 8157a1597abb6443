using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Boxer.Images.Manifests;

namespace Boxer.Images.Disk;

/// <summary>The references of a store, one file for each: the manifest that it was resolved to, and the time of its last use.</summary>
/// <param name="directory">The directory of the files.</param>
/// <param name="write">Writes a file atomically, by path and content.</param>
internal sealed class StoredReferences(string directory, Action<string, byte[]> write)
{
    /// <summary>Reads the manifest that a reference was resolved to.</summary>
    /// <param name="reference">The reference.</param>
    /// <returns>Digest of the manifest; <see langword="null"/> if the reference is unknown or damaged.</returns>
    public ImageDigest? Read(ImageReference reference) => Read(PathOf(reference))?.Manifest;

    /// <summary>Reads all references. Damaged ones are left out.</summary>
    public IReadOnlyList<StoredReference> ReadAll() => [.. Directory.EnumerateFiles(directory).Select(Read).OfType<StoredReference>()];

    /// <summary>Stores the manifest that a reference was resolved to.</summary>
    /// <param name="reference">The reference.</param>
    /// <param name="manifest">Digest of the manifest.</param>
    public void Write(ImageReference reference, ImageDigest manifest) =>
        write(PathOf(reference), JsonSerializer.SerializeToUtf8Bytes(
            new StoredReferenceJson { Reference = reference.ToString(), Digest = manifest.ToString() }, RegistryJson.Default.StoredReferenceJson));

    /// <summary>Removes a reference.</summary>
    /// <param name="reference">The reference.</param>
    public void Remove(ImageReference reference) => File.Delete(PathOf(reference));

    /// <summary>Stores the time of the last use of a reference.</summary>
    /// <param name="reference">The reference.</param>
    /// <param name="now">The time.</param>
    public void Touch(ImageReference reference, DateTimeOffset now)
    {
        try
        {
            File.SetLastWriteTimeUtc(PathOf(reference), now.UtcDateTime);
        }
        catch (IOException)
        {
            // The reference was removed meanwhile. Users of the image keep it.
        }
    }

    // A damaged file counts as missing: the reference is resolved again.
    private StoredReference? Read(string path)
    {
        try
        {
            StoredReferenceJson? json = JsonSerializer.Deserialize(File.ReadAllBytes(path), RegistryJson.Default.StoredReferenceJson);
            return ImageReference.TryParse(json?.Reference, out ImageReference? reference) && PathOf(reference) == path && ImageDigest.TryParse(json?.Digest, out ImageDigest digest)
                ? new(reference, digest, new DateTimeOffset(File.GetLastWriteTimeUtc(path)))
                : null;
        }
        catch (Exception fault) when (fault is JsonException or FileNotFoundException)
        {
            return null;
        }
    }

    private string PathOf(ImageReference reference) =>
        Path.Combine(directory, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(reference.ToString()))));
}
