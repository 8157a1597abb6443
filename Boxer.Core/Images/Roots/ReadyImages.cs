using Boxer.Images.Disk;
using Boxer.Linux;

namespace Boxer.Images.Roots;

/// <summary>An image whose root this process has made.</summary>
/// <param name="Image">The image.</param>
/// <param name="Root">Path of the root.</param>
/// <param name="Hold">Lock that keeps other processes from removing the image.</param>
internal sealed record ReadyImage(StoredImage Image, string Root, FileLock Hold)
{
    /// <summary>Number of current users.</summary>
    public int Users { get; set; }

    /// <summary>Time of use that was last written to the store.</summary>
    public DateTimeOffset Noted { get; set; }
}

/// <summary>
/// Images whose roots this process has made, by digest and by the references that were asked for. A root without users stays, for the next user.
/// </summary>
/// <param name="unmake">Removes the root of an image without users.</param>
internal sealed class ReadyImages(Action<ReadyImage> unmake)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, ReadyImage> _byName = new(StringComparer.Ordinal);
    private readonly Dictionary<ImageDigest, ReadyImage> _byDigest = [];

    /// <summary>Begins a use of the image that a reference means.</summary>
    /// <param name="name">The reference in its canonical form.</param>
    /// <returns>The image; <see langword="null"/> if none is ready.</returns>
    public ReadyImage? TryUse(string name)
    {
        lock (_lock)
        {
            return BeginUse(_byName.GetValueOrDefault(name));
        }
    }

    /// <summary>Begins a use of an image.</summary>
    /// <param name="digest">Digest of its manifest.</param>
    /// <returns>The image; <see langword="null"/> if it is not ready.</returns>
    public ReadyImage? TryUse(ImageDigest digest)
    {
        lock (_lock)
        {
            return BeginUse(_byDigest.GetValueOrDefault(digest));
        }
    }

    /// <summary>Adds an image, with one use. If another caller has added it already, that one is used instead.</summary>
    /// <param name="made">The image.</param>
    /// <returns>The image to use.</returns>
    public ReadyImage Add(ReadyImage made)
    {
        lock (_lock)
        {
            if (BeginUse(_byDigest.GetValueOrDefault(made.Image.Digest)) is { } existing)
            {
                // Both have the same root: each mount point is mounted once.
                made.Hold.Dispose();
                return existing;
            }

            made.Users = 1;
            return _byDigest[made.Image.Digest] = made;
        }
    }

    /// <summary>Sets the image that a reference means from now on.</summary>
    /// <param name="name">The reference in its canonical form.</param>
    /// <param name="image">The image, which is in use.</param>
    public void Name(string name, ReadyImage image)
    {
        lock (_lock)
        {
            _byName[name] = image;
        }
    }

    /// <summary>Ends one use of an image.</summary>
    /// <param name="image">The image.</param>
    public void EndUse(ReadyImage image)
    {
        lock (_lock)
        {
            image.Users--;
        }
    }

    /// <summary>Removes the root of an image and releases the image, unless it is in use.</summary>
    /// <param name="digest">Digest of its manifest.</param>
    /// <returns><see langword="false"/> if the image is in use; <see langword="true"/> otherwise, also if it was not ready.</returns>
    public bool TryRetire(ImageDigest digest)
    {
        lock (_lock)
        {
            if (!_byDigest.TryGetValue(digest, out ReadyImage? image))
            {
                return true;
            }

            if (image.Users > 0)
            {
                return false;
            }

            _byDigest.Remove(digest);
            foreach (string name in _byName.Where(pair => pair.Value == image).Select(pair => pair.Key).ToList())
            {
                _byName.Remove(name);
            }

            unmake(image);
            image.Hold.Dispose();
            return true;
        }
    }

    /// <summary>Releases the locks of all images.</summary>
    public void Release()
    {
        lock (_lock)
        {
            foreach (ReadyImage image in _byDigest.Values)
            {
                image.Hold.Dispose();
            }

            _byDigest.Clear();
            _byName.Clear();
        }
    }

    private static ReadyImage? BeginUse(ReadyImage? image)
    {
        if (image is not null)
        {
            image.Users++;
        }

        return image;
    }
}
