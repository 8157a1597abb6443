namespace Boxer.Images;

/// <summary>An image in a store.</summary>
/// <param name="Reference">Its reference in canonical form.</param>
/// <param name="Digest">Digest of its manifest, <c>sha256:...</c>.</param>
/// <param name="Bytes">Bytes that it takes on the disk. Layers shared by several images count for each of them.</param>
/// <param name="LastUsed">Time of its last pull or run, accurate to a minute.</param>
public sealed record ImageInfo(string Reference, string Digest, long Bytes, DateTimeOffset LastUsed);

/// <summary>Result of removing an image.</summary>
public enum ImageRemoval
{
    /// <summary>The image was removed, with all content that no other image needs.</summary>
    Removed,

    /// <summary>The store does not have the image.</summary>
    NotFound,

    /// <summary>The image was not removed, because a run uses it or another process has it ready.</summary>
    InUse,
}

/// <summary>Result of pruning a store.</summary>
/// <param name="Images">Number of removed references.</param>
/// <param name="Bytes">Bytes that this freed on the disk.</param>
public sealed record ImagePruneResult(int Images, long Bytes);
