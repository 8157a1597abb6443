using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Linux;

/// <summary>
/// Opens directories. Each method verifies that it opens a directory and, unless its documentation says otherwise, rejects a symbolic link as the
/// last name of the path. Handles are close-on-exec.
/// </summary>
internal static class DirectoryHandle
{
    private static readonly int ToRead = Fcntl.O_RDONLY | Fcntl.O_DIRECTORY | Fcntl.O_CLOEXEC;
    private static readonly int ToResolve = Fcntl.O_PATH | Fcntl.O_DIRECTORY | Fcntl.O_CLOEXEC;

    /// <summary>Opens a directory of Boxer to read its entries.</summary>
    /// <param name="path">Path of the directory.</param>
    /// <exception cref="NativeException">It cannot be opened, or is a link or no directory.</exception>
    internal static SafeFileHandle Open(string path) => Checked(Fcntl.openat(Fcntl.AT_FDCWD, path, ToRead | Fcntl.O_NOFOLLOW, 0), path);

    /// <summary>Opens a directory of the operator's choice to read its entries. Follows symbolic links.</summary>
    /// <param name="path">Path of the directory.</param>
    /// <exception cref="NativeException">It cannot be opened, or is no directory.</exception>
    internal static SafeFileHandle OpenNamed(string path) => Checked(Fcntl.openat(Fcntl.AT_FDCWD, path, ToRead, 0), path);

    /// <summary>Opens a directory of Boxer to resolve names in it. The directory need not be readable.</summary>
    /// <param name="path">Path of the directory.</param>
    /// <exception cref="NativeException">It cannot be opened, or is a link or no directory.</exception>
    internal static SafeFileHandle OpenToResolve(string path) => Checked(Fcntl.openat(Fcntl.AT_FDCWD, path, ToResolve | Fcntl.O_NOFOLLOW, 0), path);

    /// <summary>Opens a directory of the operator's choice to resolve names in it. Follows symbolic links.</summary>
    /// <param name="path">Path of the directory.</param>
    /// <exception cref="NativeException">It cannot be opened, or is no directory.</exception>
    internal static SafeFileHandle OpenNamedToResolve(string path) => Checked(Fcntl.openat(Fcntl.AT_FDCWD, path, ToResolve, 0), path);

    /// <summary>Opens a directory in another one to read its entries.</summary>
    /// <param name="parent">Parent directory.</param>
    /// <param name="name">Name with a NUL at its end.</param>
    /// <exception cref="NativeException">It cannot be opened, or is a link or no directory.</exception>
    internal static SafeFileHandle Open(SafeFileHandle parent, ReadOnlySpan<byte> name) => Checked(TryOpen(parent, name), null);

    /// <summary>Opens a directory in another one to read its entries.</summary>
    /// <param name="parent">Parent directory.</param>
    /// <param name="name">Name with a NUL at its end.</param>
    /// <returns>An invalid handle, with the last error set, if the directory cannot be opened.</returns>
    internal static SafeFileHandle TryOpen(SafeFileHandle parent, ReadOnlySpan<byte> name) => Fcntl.openat(parent, name, ToRead | Fcntl.O_NOFOLLOW, 0);

    /// <summary>
    /// Opens a directory in an untrusted tree. Absolute links and <c>..</c> stay in the tree. Links of proc(5) are not followed.
    /// </summary>
    /// <param name="root">Root of the tree.</param>
    /// <param name="path">Path in the tree, with a NUL at its end.</param>
    /// <param name="resolve">Further restrictions of openat2(2), such as no links at all.</param>
    /// <returns>An invalid handle, with the last error set, if the directory cannot be opened.</returns>
    internal static SafeFileHandle TryOpenInTree(SafeFileHandle root, ReadOnlySpan<byte> path, ulong resolve = 0) => Fcntl.openat2(
        root, path, Fcntl.O_RDONLY | Fcntl.O_DIRECTORY | Fcntl.O_NONBLOCK, Fcntl.RESOLVE_IN_ROOT | Fcntl.RESOLVE_NO_MAGICLINKS | resolve);

    /// <summary>Reads owner, mode, times and inode of an open directory.</summary>
    /// <param name="directory">Open directory.</param>
    /// <exception cref="NativeException">The status cannot be read.</exception>
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
