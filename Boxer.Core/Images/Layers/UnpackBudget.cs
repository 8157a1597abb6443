using Boxer.Linux;

namespace Boxer.Images.Layers;

/// <summary>What the layers of one image may unpack to together, and the room that stays on the disk meanwhile. Safe for concurrent use.</summary>
/// <param name="maxBytes">Bytes of archives, and as many on the disk.</param>
/// <param name="maxEntries">Files, directories and links.</param>
/// <param name="room">Looks whether there is room on the disk.</param>
internal sealed class UnpackBudget(long maxBytes, long maxEntries, FreeDiskSpace room)
{
    private const long BytesBetweenLooks = 16 * 1024 * 1024;

    // An inode takes room too; on the usual file systems not more than this.
    private const long InodeBytes = 1024;

    private long _archiveBytes;
    private long _diskBytes;
    private long _entries;
    private long _written;

    /// <summary>Takes bytes of an archive.</summary>
    /// <param name="bytes">How many.</param>
    /// <exception cref="InvalidDataException">There are not so many left.</exception>
    public void TakeArchive(long bytes)
    {
        if (Interlocked.Add(ref _archiveBytes, bytes) > maxBytes)
        {
            throw TooLarge();
        }
    }

    /// <summary>Takes a file, directory or link.</summary>
    /// <param name="bytes">What it takes on the disk.</param>
    /// <exception cref="InvalidDataException">There is not so much left.</exception>
    /// <exception cref="IOException">The disk has no room.</exception>
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

    /// <summary>Says that bytes are about to be written.</summary>
    /// <param name="bytes">How many.</param>
    /// <exception cref="IOException">The disk has no room.</exception>
    public void Write(long bytes)
    {
        long before = Interlocked.Add(ref _written, bytes) - bytes;
        if (before == 0 || before / BytesBetweenLooks != (before + bytes) / BytesBetweenLooks)
        {
            room.Verify(bytes);
        }
    }

    private InvalidDataException TooLarge() => new InvalidDataException($"the image unpacks to more than {maxBytes} bytes").AsPublic();
}
