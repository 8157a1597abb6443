namespace Boxer.Images;

/// <summary>Options of acquiring an image.</summary>
public sealed class ImageAcquireOptions
{
    /// <summary>
    /// When registries are asked for the image.
    /// <value>Default <see cref="PullPolicy.Missing"/>.</value>
    /// </summary>
    public PullPolicy Policy { get; set; }

    /// <summary>Receives the progress of each layer of a pull, on any thread; must return quickly. <see langword="null"/>: not reported.</summary>
    public IProgress<PullProgress>? Progress { get; set; }
}

/// <summary>When registries are asked for an image.</summary>
public enum PullPolicy
{
    /// <summary>If the image is not in the store.</summary>
    Missing,

    /// <summary>
    /// Every time, to resolve a tag anew. Content in the store is not downloaded again. A reference by digest always means the same image, and is not
    /// asked for again.
    /// </summary>
    Always,

    /// <summary>Never. An image that is not in the store is not found.</summary>
    Never,
}

/// <summary>Progress of one layer of a pull.</summary>
/// <param name="Digest">Digest of the layer's blob.</param>
/// <param name="Bytes">Bytes of the blob that were received so far.</param>
/// <param name="TotalBytes">Size of the blob in bytes.</param>
/// <param name="IsStored">Whether the complete layer is in the store.</param>
public sealed record PullProgress(string Digest, long Bytes, long TotalBytes, bool IsStored);
