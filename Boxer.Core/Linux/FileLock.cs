using System.Runtime.InteropServices;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Linux;

/// <summary>
/// A file that is locked as long as its process lives, however that ends (flock(2)). Not by way of <see cref="FileShare"/>, whose locks
/// an environment variable of .NET switches off.
/// </summary>
internal sealed class FileLock : IDisposable
{
    private readonly SafeFileHandle _handle;

    private FileLock(string path, SafeFileHandle handle)
    {
        Path = path;
        _handle = handle;
    }

    internal string Path { get; }

    /// <summary>Whether the path still leads to the locked file, so that nobody removed it before it was locked.</summary>
    internal bool IsInPlace =>
        SysStat.statx(_handle, "\0"u8, Fcntl.AT_EMPTY_PATH, SysStat.STATX_BASIC_STATS, out SysStat.statx_t locked) == 0
        && SysStat.statx(Fcntl.AT_FDCWD, Path, Fcntl.AT_SYMLINK_NOFOLLOW, SysStat.STATX_BASIC_STATS, out SysStat.statx_t found) == 0
        && (locked.stx_ino, locked.stx_dev_major, locked.stx_dev_minor) == (found.stx_ino, found.stx_dev_major, found.stx_dev_minor);

    /// <summary>Makes a file and locks it.</summary>
    /// <returns><see langword="null"/> where it exists, or another was faster to lock it.</returns>
    /// <exception cref="NativeException">It cannot be made.</exception>
    internal static FileLock? TryCreate(string path) => TryTake(path, Fcntl.O_CREAT | Fcntl.O_EXCL, Errno.EEXIST);

    /// <summary>Locks a file that is there.</summary>
    /// <returns><see langword="null"/> where it does not exist, or somebody holds it.</returns>
    /// <exception cref="NativeException">It cannot be opened or locked.</exception>
    internal static FileLock? TryTake(string path) => TryTake(path, 0, Errno.ENOENT);

    /// <summary>Locks a file, and makes it where it is not there.</summary>
    /// <returns><see langword="null"/> where somebody holds it.</returns>
    /// <exception cref="NativeException">It cannot be made, opened or locked.</exception>
    internal static FileLock? TryTakeOrCreate(string path) => TryTake(path, Fcntl.O_CREAT, Errno.EEXIST);

    /// <summary>Locks a file together with others who do so, and makes it where it is not there.</summary>
    /// <returns><see langword="null"/> where somebody holds it alone.</returns>
    /// <exception cref="NativeException">It cannot be made, opened or locked.</exception>
    internal static FileLock? TryShare(string path) => TryTake(path, Fcntl.O_CREAT, Errno.EEXIST, SysFile.LOCK_SH);

    /// <summary>Locks a directory.</summary>
    /// <returns><see langword="null"/> where somebody holds it.</returns>
    /// <exception cref="NativeException">It cannot be opened or locked.</exception>
    internal static FileLock? TryTakeDirectory(string path) =>
        TryLock(path, DirectoryHandle.Open(path), null, SysFile.LOCK_EX);

    public void Dispose()
    {
        if (!_handle.IsClosed)
        {
            // A child that is being started has the descriptor until it becomes another program, and with it the lock.
            _ = SysFile.flock(_handle, SysFile.LOCK_UN);
        }

        _handle.Dispose();
    }

    private static FileLock? TryTake(string path, int flags, int expected, int operation = SysFile.LOCK_EX) =>
        TryLock(path, Fcntl.openat(Fcntl.AT_FDCWD, path, Fcntl.O_WRONLY | Fcntl.O_NOFOLLOW | Fcntl.O_CLOEXEC | flags, 0x180), expected, operation);

    private static FileLock? TryLock(string path, SafeFileHandle handle, int? expected, int operation)
    {
        if (handle.IsInvalid)
        {
            int errno = Marshal.GetLastPInvokeError();
            handle.Dispose();
            return errno == expected ? null : throw new NativeException("open", errno, path);
        }

        if (SysFile.flock(handle, operation | SysFile.LOCK_NB) == 0)
        {
            return new FileLock(path, handle);
        }

        int fault = Marshal.GetLastPInvokeError();
        handle.Dispose();
        return fault is Errno.EAGAIN or Errno.EINTR ? null : throw new NativeException("flock", fault, path);
    }
}
