using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Linux;

/// <summary>Measures the disk space of trees. They can be deeper than the limit of paths. Symbolic links are not followed.</summary>
internal static class TreeSize
{
    private const int BlockBytes = 512;

    /// <summary>Measures a file, or a directory with everything below it.</summary>
    /// <param name="path">Trusted path. No process may move entries below it meanwhile.</param>
    /// <returns>Bytes on the disk; 0 if the path does not exist.</returns>
    /// <exception cref="NativeException">An entry cannot be read.</exception>
    public static long Measure(string path)
    {
        if (SysStat.statx(Fcntl.AT_FDCWD, path, Fcntl.AT_SYMLINK_NOFOLLOW, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status) != 0)
        {
            return 0;
        }

        long bytes = (long)status.stx_blocks * BlockBytes;
        return status.Type == SysStat.S_IFDIR ? bytes + MeasureBelow(path) : bytes;
    }

    // One directory is open at a time; the walk returns to its parent through "..".
    private static long MeasureBelow(string path)
    {
        // A file with several names counts once.
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
