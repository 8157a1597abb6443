namespace Boxer.Images;

/// <summary>Images that are ready to run. Implementations are safe for concurrent use.</summary>
public interface IImageStore
{
    /// <summary>
    /// Finds an image, pulls it where its options say so, and holds its root until the lease is disposed. Callers that ask for the same image
    /// share one pull; one caller's cancellation does not end another's. A failed pull is not remembered.
    /// </summary>
    /// <param name="reference">Which image.</param>
    /// <param name="options">When the registry is asked, and who is told how far a pull is.</param>
    /// <param name="cancellationToken">Gives up waiting.</param>
    /// <exception cref="ImageNotFoundException">No place that it may come from knows the image.</exception>
    /// <exception cref="ImagePullException">The image could not be pulled or unpacked.</exception>
    Task<IImageLease> AcquireAsync(ImageReference reference, ImageAcquireOptions options, CancellationToken cancellationToken = default);
}

/// <summary>Shorter forms.</summary>
public static class ImageStoreExtensions
{
    /// <summary>Finds an image, pulls it where it is missing, and holds its root until the lease is disposed.</summary>
    /// <param name="store">The store.</param>
    /// <param name="reference">Which image.</param>
    /// <param name="cancellationToken">Gives up waiting.</param>
    public static Task<IImageLease> AcquireAsync(this IImageStore store, ImageReference reference, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(store);
        return store.AcquireAsync(reference, new ImageAcquireOptions(), cancellationToken);
    }
}

/// <summary>An image that is held: its root stays until this is disposed.</summary>
public interface IImageLease : IAsyncDisposable
{
    /// <summary>The digest of the image's manifest for this platform, <c>sha256:...</c>.</summary>
    string Digest { get; }

    /// <summary>What the image says about its processes.</summary>
    ImageConfig Config { get; }

    /// <summary>
    /// The image's root on this host: one directory shared by all runs of this digest, never written to. A runner that may not make
    /// overlay mounts needs an empty file <c>.boxer/init</c> in it, which PID 1 is mounted on.
    /// </summary>
    string RootPath { get; }
}
