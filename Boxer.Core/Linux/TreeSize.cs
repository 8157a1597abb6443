using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Linux;

/// <summary>What trees take on the disk. No symbolic link is followed.</summary>
internal static class TreeSize
{
    private const int BlockBytes = 512;

    /// <summary>Bytes on the disk of a file, or of a directory with all below it. What cannot be looked at counts nothing.</summary>
    /// <param name="path">A path of this process's own.</param>
    public static long Measure(string path)
    {
        if (SysStat.statx(Fcntl.AT_FDCWD, path, Fcntl.AT_SYMLINK_NOFOLLOW, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status) != 0)
        {
            return 0;
        }

        long bytes = (long)status.stx_blocks * BlockBytes;
        if (status.Type != SysStat.S_IFDIR)
        {
            return bytes;
        }

        using SafeFileHandle root = Fcntl.openat(Fcntl.AT_FDCWD, path, Fcntl.O_RDONLY | Fcntl.O_DIRECTORY | Fcntl.O_NOFOLLOW | Fcntl.O_CLOEXEC, 0);
        return root.IsInvalid ? bytes : bytes + MeasureBelow(root);
    }

    private static long MeasureBelow(SafeFileHandle root)
    {
        long bytes = 0;

        // A file of several names is one file.
        var linked = new HashSet<ulong>();
        var waiting = new Stack<byte[]>([".\0"u8.ToArray()]);
        while (waiting.TryPop(out byte[]? directory))
        {
            using SafeFileHandle opened = Fcntl.openat2(root, directory, Fcntl.O_RDONLY | Fcntl.O_DIRECTORY, Fcntl.RESOLVE_BENEATH | Fcntl.RESOLVE_NO_SYMLINKS);
            if (opened.IsInvalid)
            {
                continue;
            }

            foreach (byte[] name in Dirent.ReadNames(opened))
            {
                if (SysStat.statx(opened, name, Fcntl.AT_SYMLINK_NOFOLLOW, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status) != 0)
                {
                    continue;
                }

                if (status.Type == SysStat.S_IFDIR)
                {
                    waiting.Push([.. directory.AsSpan(0, directory.Length - 1), (byte)'/', .. name]);
                }

                if (status.Type == SysStat.S_IFDIR || status.stx_nlink == 1 || linked.Add(status.stx_ino))
                {
                    bytes += (long)status.stx_blocks * BlockBytes;
                }
            }
        }

        return bytes;
    }
}
