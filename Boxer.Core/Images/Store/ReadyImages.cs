using Boxer.Linux;

namespace Boxer.Images.Store;

/// <summary>An image that this process has a root of.</summary>
/// <param name="Image">The image.</param>
/// <param name="Root">Its root.</param>
/// <param name="Hold">Keeps other processes from removing it.</param>
internal sealed record ReadyImage(StoredImage Image, string Root, FileLock Hold)
{
    /// <summary>How many use it.</summary>
    public int Users { get; set; }

    /// <summary>When its use was last noted.</summary>
    public DateTimeOffset Noted { get; set; }
}

/// <summary>Images that this process has roots of, by digest and by the names that they were asked for with. A root stays when its last user goes, for the next.</summary>
/// <param name="unmake">Takes a root away.</param>
internal sealed class ReadyImages(Action<ReadyImage> unmake)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, ReadyImage> _byName = new(StringComparer.Ordinal);
    private readonly Dictionary<ImageDigest, ReadyImage> _byDigest = [];

    /// <summary>Uses the image of a name.</summary>
    /// <param name="name">The name.</param>
    /// <returns><see langword="null"/> where there is none.</returns>
    public ReadyImage? TryUse(string name)
    {
        lock (_lock)
        {
            if (!_byName.TryGetValue(name, out ReadyImage? image))
            {
                return null;
            }

            image.Users++;
            return image;
        }
    }

    /// <summary>Uses an image.</summary>
    /// <param name="digest">The digest of its manifest.</param>
    /// <returns><see langword="null"/> where there is none.</returns>
    public ReadyImage? TryUse(ImageDigest digest)
    {
        lock (_lock)
        {
            if (!_byDigest.TryGetValue(digest, out ReadyImage? image))
            {
                return null;
            }

            image.Users++;
            return image;
        }
    }

    /// <summary>Adds an image, used once, unless another was faster.</summary>
    /// <param name="made">The image.</param>
    /// <returns>The one to use.</returns>
    public ReadyImage Add(ReadyImage made)
    {
        lock (_lock)
        {
            if (_byDigest.TryGetValue(made.Image.Digest, out ReadyImage? faster))
            {
                // The root is the same: what is mounted at one place is mounted once.
                made.Hold.Dispose();
                faster.Users++;
                return faster;
            }

            made.Users = 1;
            return _byDigest[made.Image.Digest] = made;
        }
    }

    /// <summary>Says what a name means from now on.</summary>
    /// <param name="name">The name.</param>
    /// <param name="image">The image, which is in use.</param>
    public void Name(string name, ReadyImage image)
    {
        lock (_lock)
        {
            _byName[name] = image;
        }
    }

    /// <summary>Ends a use.</summary>
    /// <param name="image">The image.</param>
    public void Leave(ReadyImage image)
    {
        lock (_lock)
        {
            image.Users--;
        }
    }

    /// <summary>Gives an image up.</summary>
    /// <param name="digest">The digest of its manifest.</param>
    /// <returns><see langword="false"/> where it is in use.</returns>
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

    /// <summary>Gives all holds back.</summary>
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
}
