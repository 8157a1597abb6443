using Boxer.Native;

namespace Boxer.Linux;

/// <summary>Room that is left to others on the disk of a directory.</summary>
/// <param name="directory">The directory.</param>
/// <param name="reserve">Bytes that must stay free.</param>
internal sealed class FreeDiskSpace(string directory, long reserve)
{
    // Also where files are many and small, others must be able to make some.
    private const ulong InodeReserve = 10_000;

    /// <summary>Looks whether there is room beyond the reserve.</summary>
    /// <param name="bytes">The bytes that are needed.</param>
    /// <exception cref="IOException">There is not.</exception>
    public void Verify(long bytes)
    {
        Check.Result(SysStatvfs.statvfs(directory, out SysStatvfs.statvfs_t status), "statvfs", directory);
        ulong free = status.f_bavail * status.f_frsize;
        if (reserve > 0 && free < (ulong)reserve + (ulong)bytes)
        {
            throw new IOException($"the disk of {directory} has {free} bytes left, of which {reserve} stay free; make room on it, or lower MinFreeDiskBytes", Errno.ENOSPC);
        }

        // Btrfs and others make inodes as they are needed, and count none.
        if (reserve > 0 && status.f_files > 0 && status.f_favail < InodeReserve)
        {
            throw new IOException($"the disk of {directory} has {status.f_favail} inodes left, of which {InodeReserve} stay free; make room on it, or set MinFreeDiskBytes to 0", Errno.ENOSPC);
        }
    }
}
