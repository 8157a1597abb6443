using System.Runtime.InteropServices;
using System.Text;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Linux;

/// <summary>
/// Removes trees that untrusted layers made. They may be deeper than a path is long or a stack is high, so subdirectories are moved up
/// and removed there: no recursion, one open directory, no symbolic link followed.
/// </summary>
internal static class TreeRemover
{
    /// <summary>Removes a file or a tree; nothing if it does not exist.</summary>
    /// <param name="path">A path of this process's own.</param>
    public static void Remove(string path)
    {
        string full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        using SafeFileHandle parent = Fcntl.openat(
            Fcntl.AT_FDCWD, Path.GetDirectoryName(full)!, Fcntl.O_RDONLY | Fcntl.O_DIRECTORY | Fcntl.O_CLOEXEC, 0);
        if (parent.IsInvalid && Marshal.GetLastPInvokeError() == Errno.ENOENT)
        {
            return;
        }

        Check.Result(parent.IsInvalid ? -1 : 0, "open", Path.GetDirectoryName(full));
        Remove(parent, Encoding.UTF8.GetBytes(Path.GetFileName(full) + "\0"), null);
    }

    /// <summary>Removes a file or a tree; nothing if it does not exist.</summary>
    /// <param name="parent">The directory it is in.</param>
    /// <param name="name">Its name, ending with NUL.</param>
    /// <param name="removed">Told the inode of each directory that goes, before its number can be used again.</param>
    public static void Remove(SafeFileHandle parent, ReadOnlySpan<byte> name, Action<ulong>? removed)
    {
        if (RemoveFile(parent, name))
        {
            return;
        }

        var waiting = new Stack<byte[]>();
        waiting.Push(name.ToArray());
        while (waiting.TryPop(out byte[]? current))
        {
            Empty(parent, current, waiting, removed);
            Check.Result(Unistd.unlinkat(parent, current, Fcntl.AT_REMOVEDIR), "rmdir");
        }
    }

    private static void Empty(SafeFileHandle parent, byte[] name, Stack<byte[]> waiting, Action<ulong>? removed)
    {
        using SafeFileHandle directory = Fcntl.openat(
            parent, name, Fcntl.O_RDONLY | Fcntl.O_DIRECTORY | Fcntl.O_NOFOLLOW | Fcntl.O_CLOEXEC, 0);
        Check.Result(directory.IsInvalid ? -1 : 0, "open");
        if (removed is not null)
        {
            Check.Result(SysStat.statx(directory, "\0"u8, Fcntl.AT_EMPTY_PATH, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status), "statx");
            removed(status.stx_ino);
        }

        foreach (byte[] child in Dirent.ReadNames(directory))
        {
            if (!RemoveFile(directory, child))
            {
                byte[] moved = Encoding.ASCII.GetBytes($".boxer-{Guid.NewGuid():N}\0");
                Check.Result(Stdio.renameat(directory, child, parent, moved), "renameat");
                waiting.Push(moved);
            }
        }
    }

    /// <returns><see langword="false"/> if it is a directory.</returns>
    private static bool RemoveFile(SafeFileHandle parent, ReadOnlySpan<byte> name)
    {
        if (Unistd.unlinkat(parent, name, 0) == 0)
        {
            return true;
        }

        return Marshal.GetLastPInvokeError() switch
        {
            Errno.ENOENT => true,
            Errno.EISDIR => false,
            int errno => throw new NativeException("unlink", errno, null),
        };
    }
}
