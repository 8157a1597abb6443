using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Linux;

/// <summary>
/// The one opener of directories. An opened directory is a directory and, unless a call says otherwise, not reached through a symbolic link in its
/// last name. Handles are close-on-exec.
/// </summary>
internal static class DirectoryHandle
{
    private static readonly int ToRead = Fcntl.O_RDONLY | Fcntl.O_DIRECTORY | Fcntl.O_CLOEXEC;
    private static readonly int ToResolve = Fcntl.O_PATH | Fcntl.O_DIRECTORY | Fcntl.O_CLOEXEC;

    /// <summary>Opens a directory of this process's own to read it.</summary>
    /// <param name="path">Its path.</param>
    /// <exception cref="NativeException">It cannot be opened, or is a link or no directory.</exception>
    internal static SafeFileHandle Open(string path) => Checked(Fcntl.openat(Fcntl.AT_FDCWD, path, ToRead | Fcntl.O_NOFOLLOW, 0), path);

    /// <summary>Opens a directory that an operator names to read it: a symbolic link is followed.</summary>
    /// <param name="path">Its path.</param>
    /// <exception cref="NativeException">It cannot be opened, or is no directory.</exception>
    internal static SafeFileHandle OpenNamed(string path) => Checked(Fcntl.openat(Fcntl.AT_FDCWD, path, ToRead, 0), path);

    /// <summary>Opens a directory of this process's own to resolve names in it; it need not be readable.</summary>
    /// <param name="path">Its path.</param>
    /// <exception cref="NativeException">It cannot be opened, or is a link or no directory.</exception>
    internal static SafeFileHandle OpenToResolve(string path) => Checked(Fcntl.openat(Fcntl.AT_FDCWD, path, ToResolve | Fcntl.O_NOFOLLOW, 0), path);

    /// <summary>Opens a directory that an operator names to resolve names in it: a symbolic link is followed.</summary>
    /// <param name="path">Its path.</param>
    /// <exception cref="NativeException">It cannot be opened, or is no directory.</exception>
    internal static SafeFileHandle OpenNamedToResolve(string path) => Checked(Fcntl.openat(Fcntl.AT_FDCWD, path, ToResolve, 0), path);

    /// <summary>Opens a directory in another.</summary>
    /// <param name="parent">The other.</param>
    /// <param name="name">Its name, which ends with NUL.</param>
    /// <exception cref="NativeException">It cannot be opened, or is a link or no directory.</exception>
    internal static SafeFileHandle Open(SafeFileHandle parent, ReadOnlySpan<byte> name) => Checked(TryOpen(parent, name), null);

    /// <summary>Opens a directory in another.</summary>
    /// <param name="parent">The other.</param>
    /// <param name="name">Its name, which ends with NUL.</param>
    /// <returns>An invalid handle where that fails; the last error says why.</returns>
    internal static SafeFileHandle TryOpen(SafeFileHandle parent, ReadOnlySpan<byte> name) => Fcntl.openat(parent, name, ToRead | Fcntl.O_NOFOLLOW, 0);

    /// <summary>
    /// Opens a directory in a tree that is not trusted. Absolute links and <c>..</c> stay in the tree, and links of proc(5) are not followed.
    /// </summary>
    /// <param name="root">The root of the tree.</param>
    /// <param name="path">The path in it, which ends with NUL.</param>
    /// <param name="resolve">Further bounds of openat2(2), such as no links at all.</param>
    /// <returns>An invalid handle where that fails; the last error says why.</returns>
    internal static SafeFileHandle TryOpenInTree(SafeFileHandle root, ReadOnlySpan<byte> path, ulong resolve = 0) => Fcntl.openat2(
        root, path, Fcntl.O_RDONLY | Fcntl.O_DIRECTORY | Fcntl.O_NONBLOCK, Fcntl.RESOLVE_IN_ROOT | Fcntl.RESOLVE_NO_MAGICLINKS | resolve);

    /// <summary>Reads owner, mode, times and inode of an open directory.</summary>
    /// <param name="directory">The directory.</param>
    /// <exception cref="NativeException">They cannot be read.</exception>
    internal static SysStat.statx_t Status(SafeFileHandle directory)
    {
        Check.Result(SysStat.statx(directory, "\0"u8, Fcntl.AT_EMPTY_PATH, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status), "statx");
        return status;
    }

    private static SafeFileHandle Checked(SafeFileHandle handle, string? path)
    {
        if (handle.IsInvalid)
        {
            int errno = System.Runtime.InteropServices.Marshal.GetLastPInvokeError();
            handle.Dispose();
            throw new NativeException("open", errno, path);
        }

        return handle;
    }
}
