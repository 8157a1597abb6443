using System.Runtime.InteropServices;
using System.Text;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Linux;

/// <summary>
/// Removes trees that untrusted layers created. They can be deeper than the limits of paths and of the stack, so subdirectories are moved up
/// to the top of their tree and removed there: without recursion, with two open directories, and without following symbolic links. An interrupted
/// removal leaves nothing outside the tree.
/// </summary>
internal static class TreeRemover
{
    /// <summary>Removes a file or a tree, if it exists.</summary>
    /// <param name="path">Trusted path.</param>
    /// <exception cref="NativeException">An entry cannot be removed.</exception>
    public static void Remove(string path)
    {
        string full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        SafeFileHandle parent;
        try
        {
            parent = DirectoryHandle.OpenNamed(Path.GetDirectoryName(full)!);
        }
        catch (NativeException exception) when (exception.Errno == Errno.ENOENT)
        {
            return;
        }

        using (parent)
        {
            Remove(parent, Encoding.UTF8.GetBytes(Path.GetFileName(full) + "\0"), null);
        }
    }

    /// <summary>Removes a file or a tree, if it exists.</summary>
    /// <param name="parent">Parent directory.</param>
    /// <param name="name">Name with a NUL at its end.</param>
    /// <param name="removed">Called with the inode number of each directory before the removal frees the number.</param>
    /// <exception cref="NativeException">An entry cannot be removed.</exception>
    public static void Remove(SafeFileHandle parent, ReadOnlySpan<byte> name, Action<ulong>? removed)
    {
        if (RemoveFile(parent, name))
        {
            return;
        }

        using (SafeFileHandle top = OpenDirectory(parent, name, removed))
        {
            var waiting = new Stack<byte[]>();
            Empty(top, top, waiting);
            while (waiting.TryPop(out byte[]? current))
            {
                using (SafeFileHandle directory = OpenDirectory(top, current, removed))
                {
                    Empty(directory, top, waiting);
                }

                Check.Result(Unistd.unlinkat(top, current, Fcntl.AT_REMOVEDIR), "rmdir");
            }
        }

        Check.Result(Unistd.unlinkat(parent, name, Fcntl.AT_REMOVEDIR), "rmdir");
    }

    private static SafeFileHandle OpenDirectory(SafeFileHandle parent, ReadOnlySpan<byte> name, Action<ulong>? removed)
    {
        SafeFileHandle directory = DirectoryHandle.Open(parent, name);
        try
        {
            removed?.Invoke(DirectoryHandle.Status(directory).stx_ino);
            return directory;
        }
        catch
        {
            directory.Dispose();
            throw;
        }
    }

    private static void Empty(SafeFileHandle directory, SafeFileHandle top, Stack<byte[]> waiting)
    {
        foreach (byte[] child in Dirent.ReadNames(directory))
        {
            if (RemoveFile(directory, child))
            {
                continue;
            }

            byte[] waits = child;
            if (directory != top)
            {
                waits = Encoding.ASCII.GetBytes($".boxer-{Guid.NewGuid():N}\0");
                Check.Result(Stdio.renameat(directory, child, top, waits), "renameat");
            }

            waiting.Push(waits);
        }
    }

    /// <returns><see langword="false"/> if the name is a directory.</returns>
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
