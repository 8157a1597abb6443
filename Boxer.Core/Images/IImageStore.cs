namespace Boxer.Images;

/// <summary>
/// Images of this machine: runs acquire theirs here, and applications pull, import, list and remove them. A store of an application's own
/// implements <see cref="AcquireAsync"/>; what else it can do it says by implementing it. Implementations are safe for concurrent use.
/// </summary>
public interface IImageStore
{
    /// <summary>
    /// Finds an image, pulls it where the options say so, and keeps its root until the lease is disposed. Callers that ask for the same image
    /// share one pull; one caller's cancellation does not end another's. A failed pull is not remembered.
    /// </summary>
    /// <param name="reference">The image.</param>
    /// <param name="options">When the registry is asked, and where progress is reported.</param>
    /// <param name="cancellationToken">Cancels the wait; the pull ends with its last caller.</param>
    /// <returns>The image; while the lease is not disposed, the image is in use and cannot be removed.</returns>
    /// <exception cref="ImageNotFoundException">No place that it may come from has the image, or nothing is pulled and it is not here.</exception>
    /// <exception cref="ImagePullException">The image could not be pulled or unpacked.</exception>
    Task<IImageLease> AcquireAsync(ImageReference reference, ImageAcquireOptions options, CancellationToken cancellationToken = default);

    /// <summary>Pulls the image that a reference means now. Layers that are here are not downloaded again.</summary>
    /// <param name="reference">The image. One by digest is not asked for again if it is here.</param>
    /// <param name="progress">Where progress of each layer is reported, on any thread; must be quick. <see langword="null"/>: nowhere.</param>
    /// <param name="cancellationToken">Cancels the wait; the pull ends with its last caller.</param>
    /// <returns>The digest of the image's manifest for this platform, <c>sha256:...</c>.</returns>
    /// <exception cref="ImageNotFoundException">No place that it may come from has the image.</exception>
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
    /// Imports an image from a file or directory of this host, as if it had been pulled. The reference means this image from then on. The source
    /// may be hostile: it is held to the limits of pulls.
    /// </summary>
    /// <param name="source">The file or directory.</param>
    /// <param name="reference">The name of the image from now on, with a tag.</param>
    /// <param name="progress">Where progress of each layer is reported, on any thread; must be quick. <see langword="null"/>: nowhere.</param>
    /// <param name="cancellationToken">Cancels the import; nothing half-made is kept.</param>
    /// <returns>The digest of the image's manifest for this platform, <c>sha256:...</c>.</returns>
    /// <exception cref="ArgumentException">The reference names a digest.</exception>
    /// <exception cref="ImageNotFoundException">The source does not have the image.</exception>
    /// <exception cref="ImagePullException">The source could not be read or unpacked.</exception>
    /// <exception cref="NotSupportedException">This store imports nothing.</exception>
    Task<string> ImportAsync(ImageSource source, ImageReference reference, IProgress<PullProgress>? progress = null, CancellationToken cancellationToken = default) =>
        throw new NotSupportedException($"{GetType().Name} imports no images.");

    /// <summary>Lists the images, by their names.</summary>
    /// <param name="cancellationToken">Cancels the wait for a removal.</param>
    /// <exception cref="NotSupportedException">This store lists nothing.</exception>
    Task<IReadOnlyList<ImageInfo>> ListAsync(CancellationToken cancellationToken = default) =>
        throw new NotSupportedException($"{GetType().Name} lists no images.");

    /// <summary>Removes one name of an image, and the content that no other image needs.</summary>
    /// <param name="reference">The name.</param>
    /// <param name="cancellationToken">Cancels the wait for others that use the store just now.</param>
    /// <returns>Whether it was removed; an image in use, by a run, a waiting sandbox or a lease, is left as it is.</returns>
    /// <exception cref="NotSupportedException">This store removes nothing.</exception>
    Task<ImageRemoval> RemoveAsync(ImageReference reference, CancellationToken cancellationToken = default) =>
        throw new NotSupportedException($"{GetType().Name} removes no images.");

    /// <summary>Removes images that are not in use, and content that belongs to none.</summary>
    /// <param name="unusedFor">
    /// How long an image was not used to be removed; <see cref="TimeSpan.Zero"/> removes all that are not in use, <see langword="null"/> only
    /// content without a name.
    /// </param>
    /// <param name="cancellationToken">Cancels the wait for others that use the store just now.</param>
    /// <returns>Number of names that were removed, and the bytes that this freed.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="unusedFor"/> is negative.</exception>
    /// <exception cref="NotSupportedException">This store removes nothing.</exception>
    Task<ImagePruneResult> PruneAsync(TimeSpan? unusedFor, CancellationToken cancellationToken = default) =>
        throw new NotSupportedException($"{GetType().Name} removes no images.");
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
