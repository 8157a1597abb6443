using Boxer.Native;

namespace Boxer.Linux;

/// <summary>Keeps space free on the disk of a directory, for other users of the disk.</summary>
/// <param name="directory">Directory on the disk.</param>
/// <param name="reserve">Bytes that must stay free; 0 disables the check.</param>
internal sealed class FreeDiskSpace(string directory, long reserve)
{
    // Many small files can use up the inodes before the space.
    private const ulong InodeReserve = 10_000;

    /// <summary>Verifies that the disk has enough free space and inodes besides the reserve.</summary>
    /// <param name="bytes">Number of bytes needed.</param>
    /// <exception cref="IOException">The disk has not.</exception>
    public void Verify(long bytes)
    {
        Check.Result(SysStatvfs.statvfs(directory, out SysStatvfs.statvfs_t status), "statvfs", directory);
        ulong free = status.f_bavail * status.f_frsize;
        if (reserve > 0 && free < (ulong)reserve + (ulong)bytes)
        {
            throw new IOException($"the disk of {directory} has {free} bytes left, and {reserve} must stay free; free space on it, or lower MinFreeDiskBytes", Errno.ENOSPC);
        }

        // Some file systems, such as Btrfs, create inodes on demand and report none.
        if (reserve > 0 && status.f_files > 0 && status.f_favail < InodeReserve)
        {
            throw new IOException($"the disk of {directory} has {status.f_favail} inodes left, and {InodeReserve} must stay free; free some on it, or set MinFreeDiskBytes to 0", Errno.ENOSPC);
        }
    }
}
