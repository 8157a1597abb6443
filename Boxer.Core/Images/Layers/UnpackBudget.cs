using Boxer.Linux;

namespace Boxer.Images.Layers;

/// <summary>The limits of unpacking all layers of one image. Safe for concurrent use.</summary>
/// <param name="maxBytes">Maximum bytes of archives, and also maximum bytes on the disk.</param>
/// <param name="maxEntries">Maximum number of files, directories and links.</param>
/// <param name="freeSpace">Free space that must remain on the disk.</param>
internal sealed class UnpackBudget(long maxBytes, long maxEntries, FreeDiskSpace freeSpace)
{
    private const long BytesBetweenChecks = 16 * 1024 * 1024;

    // Maximum size of an inode on usual file systems.
    private const long InodeBytes = 1024;

    private long _archiveBytes;
    private long _diskBytes;
    private long _entries;
    private long _written;

    /// <summary>Counts bytes of an archive.</summary>
    /// <param name="bytes">Number of bytes.</param>
    /// <exception cref="InvalidDataException">The image is too large.</exception>
    public void TakeArchive(long bytes)
    {
        if (Interlocked.Add(ref _archiveBytes, bytes) > maxBytes)
        {
            throw TooLarge();
        }
    }

    /// <summary>Counts a file, directory or link.</summary>
    /// <param name="bytes">Bytes that it takes on the disk.</param>
    /// <exception cref="InvalidDataException">The image is too large or has too many entries.</exception>
    /// <exception cref="IOException">The disk has not enough free space.</exception>
    public void TakeEntry(long bytes)
    {
        if (Interlocked.Increment(ref _entries) > maxEntries)
        {
            throw new InvalidDataException($"the image has more than {maxEntries} files, directories and links").AsPublic();
        }

        if (Interlocked.Add(ref _diskBytes, bytes) > maxBytes)
        {
            throw TooLarge();
        }

        Write(bytes + InodeBytes);
    }

    /// <summary>Counts bytes before they are written, and checks the free space of the disk once in 16 MiB.</summary>
    /// <param name="bytes">Number of bytes.</param>
    /// <exception cref="IOException">The disk has not enough free space.</exception>
    public void Write(long bytes)
    {
        long before = Interlocked.Add(ref _written, bytes) - bytes;
        if (before == 0 || before / BytesBetweenChecks != (before + bytes) / BytesBetweenChecks)
        {
            freeSpace.Verify(bytes);
        }
    }

    private InvalidDataException TooLarge() => new InvalidDataException($"the image unpacks to more than {maxBytes} bytes").AsPublic();
}
