using Boxer.Linux;

namespace Boxer.Images.Disk;

/// <summary>The locks of a store between processes (flock(2)): one of the store's content, and one for each image in use.</summary>
/// <param name="home">The store's directory.</param>
internal sealed class StoreLocks(string home)
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(5);
    private readonly string _content = Path.Combine(home, "store.lock");
    private readonly string _images = Path.Combine(home, "images");

    /// <summary>Takes the shared lock of the store, which keeps processes from removing content.</summary>
    /// <param name="cancellationToken">Cancels the wait for a removal of content.</param>
    public async Task<FileLock> ShareAsync(CancellationToken cancellationToken)
    {
        FileLock? shared;
        while ((shared = FileLock.TryShare(_content)) is null)
        {
            await Task.Delay(Interval, cancellationToken).ConfigureAwait(false);
        }

        return shared;
    }

    /// <summary>Takes the exclusive lock of the store, to remove content.</summary>
    /// <returns>The lock; <see langword="null"/> while another process or call adds or removes content.</returns>
    public FileLock? TryTakeExclusive() => FileLock.TryTakeOrCreate(_content);

    /// <summary>Holds an image, so that no process removes content that it names. The caller has the shared lock of the store.</summary>
    /// <param name="digest">Digest of the image's manifest.</param>
    /// <returns>The lock that holds the image.</returns>
    /// <exception cref="IOException">Another program has locked the file.</exception>
    public FileLock Hold(ImageDigest digest) =>
        FileLock.TryShare(HoldPath(digest)) ?? throw new IOException($"{HoldPath(digest)} is locked by another program");

    /// <summary>Gets whether any process holds an image.</summary>
    /// <param name="digest">Digest of the image's manifest.</param>
    public bool IsHeld(ImageDigest digest)
    {
        using FileLock? taken = FileLock.TryTakeOrCreate(HoldPath(digest));
        if (taken is not null)
        {
            File.Delete(taken.Path);
        }

        return taken is null;
    }

    /// <summary>Gets the images that some process holds or has held.</summary>
    public IEnumerable<ImageDigest> Holds() => Directory.GetFiles(_images)
        .Select(path => ImageDigest.TryParse(Path.GetFileName(path).Replace('-', ':'), out ImageDigest digest) ? digest : (ImageDigest?)null)
        .OfType<ImageDigest>();

    private string HoldPath(ImageDigest digest) => Path.Combine(_images, $"{digest.Algorithm}-{digest.Hex}");
}
