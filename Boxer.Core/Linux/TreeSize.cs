using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Linux;

/// <summary>What trees take on the disk. They may be deeper than a path is long. No symbolic link is followed.</summary>
internal static class TreeSize
{
    private const int BlockBytes = 512;

    /// <summary>Bytes on the disk of a file, or of a directory with all below it; 0 where it does not exist.</summary>
    /// <param name="path">A path of this process's own, which nobody moves anything in meanwhile.</param>
    /// <exception cref="NativeException">A part cannot be looked at.</exception>
    public static long Measure(string path)
    {
        if (SysStat.statx(Fcntl.AT_FDCWD, path, Fcntl.AT_SYMLINK_NOFOLLOW, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status) != 0)
        {
            return 0;
        }

        long bytes = (long)status.stx_blocks * BlockBytes;
        return status.Type == SysStat.S_IFDIR ? bytes + MeasureBelow(path) : bytes;
    }

    // One directory is open at a time, and the way back up is its "..".
    private static long MeasureBelow(string path)
    {
        // A file of several names is one file.
        var linked = new HashSet<ulong>();
        long bytes = 0;
        var waiting = new Stack<Queue<byte[]>>();
        SafeFileHandle current = DirectoryHandle.Open(path);
        try
        {
            waiting.Push(Look());
            while (waiting.Count > 0)
            {
                if (waiting.Peek().TryDequeue(out byte[]? below))
                {
                    Move(below);
                    waiting.Push(Look());
                }
                else
                {
                    waiting.Pop();
                    if (waiting.Count > 0)
                    {
                        Move("..\0"u8);
                    }
                }
            }
        }
        finally
        {
            current.Dispose();
        }

        return bytes;

        Queue<byte[]> Look()
        {
            var directories = new Queue<byte[]>();
            foreach (byte[] name in Dirent.ReadNames(current))
            {
                Check.Result(SysStat.statx(current, name, Fcntl.AT_SYMLINK_NOFOLLOW, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status), "statx");
                if (status.Type == SysStat.S_IFDIR)
                {
                    directories.Enqueue(name);
                }

                if (status.Type == SysStat.S_IFDIR || status.stx_nlink == 1 || linked.Add(status.stx_ino))
                {
                    bytes += (long)status.stx_blocks * BlockBytes;
                }
            }

            return directories;
        }

        void Move(ReadOnlySpan<byte> name)
        {
            SafeFileHandle next = DirectoryHandle.Open(current, name);
            current.Dispose();
            current = next;
        }
    }
}
