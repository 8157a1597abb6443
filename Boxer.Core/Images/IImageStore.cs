namespace Boxer.Images;

/// <summary>
/// Stores the images of this machine. Runs acquire their images here, and applications pull, import, list and remove them. A custom store
/// implements <see cref="AcquireAsync"/>, and the other members as far as it supports them. Implementations are safe for concurrent use.
/// </summary>
public interface IImageStore
{
    /// <summary>
    /// Finds an image, pulls it where the policy requires it, and keeps its root until the lease is disposed. Concurrent callers of the same image
    /// share one pull; cancelling one call does not affect the others. A failed pull is not remembered.
    /// </summary>
    /// <param name="reference">The image.</param>
    /// <param name="options">Pull policy and progress.</param>
    /// <param name="cancellationToken">Cancels the wait; the pull ends with its last caller.</param>
    /// <returns>A lease of the image. Until it is disposed, the image is in use and cannot be removed.</returns>
    /// <exception cref="ImageNotFoundException">No registry or mirror has the image, or it is not in the store and pulling is disabled.</exception>
    /// <exception cref="ImagePullException">The image could not be pulled or unpacked.</exception>
    Task<IImageLease> AcquireAsync(ImageReference reference, ImageAcquireOptions options, CancellationToken cancellationToken = default);

    /// <summary>Pulls the image that a reference means now. Layers in the store are not downloaded again.</summary>
    /// <param name="reference">The image. An image in the store that is named by digest is not pulled again.</param>
    /// <param name="progress">Receives the progress of each layer, on any thread; must return quickly. <see langword="null"/>: not reported.</param>
    /// <param name="cancellationToken">Cancels the wait; the pull ends with its last caller.</param>
    /// <returns>Digest of the image's manifest for this platform, <c>sha256:...</c>.</returns>
    /// <exception cref="ImageNotFoundException">No registry or mirror has the image.</exception>
    /// <exception cref="ImagePullException">The image could not be pulled or unpacked.</exception>
    async Task<string> PullAsync(ImageReference reference, IProgress<PullProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        IImageLease lease = await AcquireAsync(reference, new ImageAcquireOptions { Policy = PullPolicy.Always, Progress = progress }, cancellationToken).ConfigureAwait(false);
        await using (lease.ConfigureAwait(false))
        {
            return lease.Digest;
        }
    }

    /// <summary>
    /// Imports an image from a file or directory of this host. From then on the reference means this image, as after a pull. The source may be
    /// hostile: the limits of pulls apply.
    /// </summary>
    /// <param name="source">The file or directory.</param>
    /// <param name="reference">The new name of the image, with a tag and without a digest.</param>
    /// <param name="progress">Receives the progress of each layer, on any thread; must return quickly. <see langword="null"/>: not reported.</param>
    /// <param name="cancellationToken">Cancels the import; no incomplete content is kept.</param>
    /// <returns>Digest of the image's manifest for this platform, <c>sha256:...</c>.</returns>
    /// <exception cref="ArgumentException">The reference names a digest.</exception>
    /// <exception cref="ImageNotFoundException">The source does not have the image.</exception>
    /// <exception cref="ImagePullException">The source could not be read or unpacked.</exception>
    /// <exception cref="NotSupportedException">This store does not import images.</exception>
    Task<string> ImportAsync(ImageSource source, ImageReference reference, IProgress<PullProgress>? progress = null, CancellationToken cancellationToken = default) =>
        throw new NotSupportedException($"{GetType().Name} imports no images.");

    /// <summary>Lists the images of the store, one for each reference, ordered by reference.</summary>
    /// <param name="cancellationToken">Cancels the wait for a removal that is in progress.</param>
    /// <exception cref="NotSupportedException">This store does not list images.</exception>
    Task<IReadOnlyList<ImageInfo>> ListAsync(CancellationToken cancellationToken = default) =>
        throw new NotSupportedException($"{GetType().Name} lists no images.");

    /// <summary>Removes a reference, and content that no other image needs. An image in use by a run, a pooled sandbox or a lease is not removed.</summary>
    /// <param name="reference">The reference.</param>
    /// <param name="cancellationToken">Cancels the wait for other users of the store.</param>
    /// <returns>Whether the image was removed, not found or in use.</returns>
    /// <exception cref="NotSupportedException">This store does not remove images.</exception>
    Task<ImageRemoval> RemoveAsync(ImageReference reference, CancellationToken cancellationToken = default) =>
        throw new NotSupportedException($"{GetType().Name} removes no images.");

    /// <summary>Removes images that are not in use, and content that belongs to no image.</summary>
    /// <param name="unusedFor">
    /// Minimum time since the last use of an image. <see cref="TimeSpan.Zero"/> removes all images that are not in use, <see langword="null"/> removes
    /// only content that belongs to no image.
    /// </param>
    /// <param name="cancellationToken">Cancels the wait for other users of the store.</param>
    /// <returns>Number of removed references, and the bytes that this freed.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="unusedFor"/> is negative.</exception>
    /// <exception cref="NotSupportedException">This store does not remove images.</exception>
    Task<ImagePruneResult> PruneAsync(TimeSpan? unusedFor, CancellationToken cancellationToken = default) =>
        throw new NotSupportedException($"{GetType().Name} removes no images.");
}

/// <summary>Extension methods of <see cref="IImageStore"/>.</summary>
public static class ImageStoreExtensions
{
    /// <summary>Finds an image, pulls it if it is missing, and keeps its root until the lease is disposed.</summary>
    /// <param name="store">The store.</param>
    /// <param name="reference">The image.</param>
    /// <param name="cancellationToken">Cancels the wait; the pull ends with its last caller.</param>
    /// <returns>A lease of the image. Until it is disposed, the image is in use and cannot be removed.</returns>
    /// <exception cref="ImageNotFoundException">No registry or mirror has the image.</exception>
    /// <exception cref="ImagePullException">The image could not be pulled or unpacked.</exception>
    public static Task<IImageLease> AcquireAsync(this IImageStore store, ImageReference reference, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(store);
        return store.AcquireAsync(reference, new ImageAcquireOptions(), cancellationToken);
    }
}

/// <summary>An image in use. Its root stays until the lease is disposed.</summary>
public interface IImageLease : IAsyncDisposable
{
    /// <summary>Digest of the image's manifest for this platform, <c>sha256:...</c>.</summary>
    string Digest { get; }

    /// <summary>Settings of the image's processes. Untrusted.</summary>
    ImageConfig Config { get; }

    /// <summary>
    /// Path of the image's root on this host: one read-only directory, shared by all runs of this digest. A runner without the privilege for overlay
    /// mounts requires an empty file <c>.boxer/init</c> in it, as the mount point of PID 1.
    /// </summary>
    string RootPath { get; }
}
