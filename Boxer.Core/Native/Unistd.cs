using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Native;

/// <summary>unistd.h. Paths end with NUL.</summary>
internal static unsafe partial class Unistd
{
    [LibraryImport("libc")]
    public static partial uint geteuid();

    [LibraryImport("libc")]
    public static partial uint getegid();

    [LibraryImport("libc", SetLastError = true)]
    public static partial int pipe2(int* fds, int flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint read(SafeHandle fd, byte* buffer, nint count);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint write(SafeHandle fd, byte* buffer, nint count);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int unlinkat(SafeFileHandle dirfd, ReadOnlySpan<byte> path, int flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int linkat(
        SafeFileHandle olddirfd, ReadOnlySpan<byte> oldpath, SafeFileHandle newdirfd, ReadOnlySpan<byte> newpath, int flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int symlinkat(ReadOnlySpan<byte> target, SafeFileHandle newdirfd, ReadOnlySpan<byte> linkpath);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int fchown(SafeFileHandle fd, uint owner, uint group);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int fchownat(SafeFileHandle dirfd, ReadOnlySpan<byte> path, uint owner, uint group, int flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int fsync(SafeFileHandle fd);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int syncfs(SafeFileHandle fd);
}
