namespace Boxer.Images;

/// <summary>An image of a store.</summary>
/// <param name="Reference">What it is called, in its canonical form.</param>
/// <param name="Digest">The digest of its manifest, <c>sha256:...</c>.</param>
/// <param name="Bytes">What it takes on the disk; layers that it shares with others count for each of them.</param>
/// <param name="LastUsed">When it was last pulled or run, to the minute.</param>
public sealed record ImageInfo(string Reference, string Digest, long Bytes, DateTimeOffset LastUsed);

/// <summary>What became of an image that was to be removed.</summary>
public enum ImageRemoval
{
    /// <summary>It was removed, with everything that no other image needs.</summary>
    Removed,

    /// <summary>The store does not have it.</summary>
    NotFound,

    /// <summary>A run uses it, or another process has it ready; it was left as it is.</summary>
    InUse,
}

/// <summary>What was removed from a store.</summary>
/// <param name="Images">References that are gone.</param>
/// <param name="Bytes">What that freed on the disk.</param>
public sealed record ImagePruneResult(int Images, long Bytes);
