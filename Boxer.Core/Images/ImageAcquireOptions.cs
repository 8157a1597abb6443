namespace Boxer.Images;

/// <summary>How an image is acquired.</summary>
public sealed class ImageAcquireOptions
{
    /// <summary>
    /// When the registry is asked.
    /// <value>Default <see cref="PullPolicy.Missing"/>.</value>
    /// </summary>
    public PullPolicy Policy { get; set; }

    /// <summary>Told how far each layer is while the image is pulled, on any thread; must be quick.</summary>
    public IProgress<PullProgress>? Progress { get; set; }
}

/// <summary>When a registry is asked for an image.</summary>
public enum PullPolicy
{
    /// <summary>When the image is not in the store.</summary>
    Missing,

    /// <summary>
    /// Every time, to see what a tag means now; what is in the store already is not pulled again. A reference by digest always means the
    /// same, and is not asked for again.
    /// </summary>
    Always,

    /// <summary>Never: an image that is not in the store is not found.</summary>
    Never,
}

/// <summary>How far a layer of a pull is.</summary>
/// <param name="Digest">The digest of the layer's blob.</param>
/// <param name="Bytes">The bytes of the blob that came until now.</param>
/// <param name="TotalBytes">The bytes of the blob.</param>
/// <param name="IsStored">Whether the layer is whole and in the store.</param>
public sealed record PullProgress(string Digest, long Bytes, long TotalBytes, bool IsStored);
