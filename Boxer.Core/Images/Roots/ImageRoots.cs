using Boxer.Images.Disk;
using Boxer.Linux;

namespace Boxer.Images.Roots;

/// <summary>Makes the roots of images from their layers. This process makes each root once; all users of the image share it.</summary>
internal abstract class ImageRoots
{
    /// <summary>Creates the roots of a store; none is made yet.</summary>
    protected ImageRoots()
    {
        Ready = new(Unmake);
    }

    /// <summary>Images whose roots are ready.</summary>
    public ReadyImages Ready { get; }

    /// <summary>Makes the root of an image, or uses the one that is ready.</summary>
    /// <param name="image">The image.</param>
    /// <param name="hold">Lock that keeps other processes from removing the image. The root takes it over, also when this throws.</param>
    /// <param name="cancellationToken">Cancels the operation; no incomplete root is kept.</param>
    /// <returns>The image, with one use that the caller must end.</returns>
    public async Task<ReadyImage> MakeAsync(StoredImage image, FileLock hold, CancellationToken cancellationToken)
    {
        try
        {
            if (Ready.TryUse(image.Digest) is { } ready)
            {
                hold.Dispose();
                return ready;
            }

            return await AddAsync(image, hold, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            hold.Dispose();
            throw;
        }
    }

    /// <summary>Removes all roots that exist only while this process runs, and releases the images.</summary>
    /// <returns>Mount points that are still in use. Each disappears with its last user.</returns>
    public IReadOnlyList<string> Release()
    {
        IReadOnlyList<string> busy = UnmakeAll();
        Ready.Release();
        return busy;
    }

    /// <summary>Makes the root of an image and adds it to <see cref="Ready"/>, with one use.</summary>
    /// <param name="image">The image.</param>
    /// <param name="hold">Lock that keeps other processes from removing the image.</param>
    /// <param name="cancellationToken">Cancels the operation; no incomplete root is kept.</param>
    protected abstract Task<ReadyImage> AddAsync(StoredImage image, FileLock hold, CancellationToken cancellationToken);

    /// <summary>Removes a root that exists only while this process runs.</summary>
    /// <param name="image">The image, which has no users.</param>
    protected virtual void Unmake(ReadyImage image)
    {
    }

    /// <summary>Removes all roots that exist only while this process runs.</summary>
    /// <returns>Mount points that are still in use.</returns>
    protected virtual IReadOnlyList<string> UnmakeAll() => [];
}
