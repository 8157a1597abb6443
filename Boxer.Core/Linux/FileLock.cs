using System.Runtime.InteropServices;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Linux;

/// <summary>
/// Lock on a file (flock(2)). The kernel releases it at the end of the process, however the process ends. It does not use
/// <see cref="FileShare"/>, because an environment variable of .NET disables those locks.
/// </summary>
internal sealed class FileLock : IDisposable
{
    private readonly SafeFileHandle _handle;

    private FileLock(string path, SafeFileHandle handle)
    {
        Path = path;
        _handle = handle;
    }

    /// <summary>Path of the locked file.</summary>
    internal string Path { get; }

    /// <summary>Whether the locked file is still at its path. Another process may have removed it before the lock.</summary>
    internal bool IsInPlace =>
        SysStat.statx(_handle, "\0"u8, Fcntl.AT_EMPTY_PATH, SysStat.STATX_BASIC_STATS, out SysStat.statx_t locked) == 0
        && SysStat.statx(Fcntl.AT_FDCWD, Path, Fcntl.AT_SYMLINK_NOFOLLOW, SysStat.STATX_BASIC_STATS, out SysStat.statx_t found) == 0
        && (locked.stx_ino, locked.stx_dev_major, locked.stx_dev_minor) == (found.stx_ino, found.stx_dev_major, found.stx_dev_minor);

    /// <summary>Creates a file and locks it.</summary>
    /// <returns><see langword="null"/> if the file exists or another process has just locked it.</returns>
    /// <exception cref="NativeException">The file cannot be created.</exception>
    internal static FileLock? TryCreate(string path) => TryTake(path, Fcntl.O_CREAT | Fcntl.O_EXCL, Errno.EEXIST);

    /// <summary>Locks an existing file.</summary>
    /// <returns><see langword="null"/> if the file does not exist or is locked.</returns>
    /// <exception cref="NativeException">It cannot be opened or locked.</exception>
    internal static FileLock? TryTake(string path) => TryTake(path, 0, Errno.ENOENT);

    /// <summary>Locks a file, and creates it if it is missing.</summary>
    /// <returns><see langword="null"/> if the file is locked.</returns>
    /// <exception cref="NativeException">The file cannot be created, opened or locked.</exception>
    internal static FileLock? TryTakeOrCreate(string path) => TryTake(path, Fcntl.O_CREAT, Errno.EEXIST);

    /// <summary>Acquires a shared lock on a file, and creates the file if it is missing.</summary>
    /// <returns><see langword="null"/> if the file has an exclusive lock.</returns>
    /// <exception cref="NativeException">The file cannot be created, opened or locked.</exception>
    internal static FileLock? TryShare(string path) => TryTake(path, Fcntl.O_CREAT, Errno.EEXIST, SysFile.LOCK_SH);

    /// <summary>Locks a directory.</summary>
    /// <returns><see langword="null"/> if the directory is locked.</returns>
    /// <exception cref="NativeException">It cannot be opened or locked.</exception>
    internal static FileLock? TryTakeDirectory(string path) =>
        TryLock(path, DirectoryHandle.Open(path), null, SysFile.LOCK_EX);

    public void Dispose()
    {
        if (!_handle.IsClosed)
        {
            // A child that is being started has the descriptor, and with it the lock, until its exec.
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
