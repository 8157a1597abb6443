using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Native;

/// <summary>unistd.h. Paths have a NUL at their end.</summary>
internal static unsafe partial class Unistd
{
    [LibraryImport("libc")]
    public static partial uint geteuid();

    [LibraryImport("libc")]
    public static partial uint getegid();

    [LibraryImport("libc", SetLastError = true)]
    public static partial int pipe2(int* fds, int flags);

    /// <summary>read(2), repeated if a signal interrupts it.</summary>
    /// <param name="fd">Descriptor to read from.</param>
    /// <param name="buffer">Buffer to fill.</param>
    /// <returns>Number of bytes, 0 at the end of the file, or -1 with the last error set.</returns>
    public static int Read(SafeHandle fd, Span<byte> buffer)
    {
        fixed (byte* pointer = buffer)
        {
            nint count;
            do
            {
                count = read(fd, pointer, buffer.Length);
            }
            while (Check.IsInterrupted(count));

            return (int)count;
        }
    }

    /// <summary>write(2), repeated if a signal interrupts it.</summary>
    /// <param name="fd">Descriptor to write to.</param>
    /// <param name="data">Bytes to write.</param>
    /// <returns>Number of bytes, which can be less than all, or -1 with the last error set.</returns>
    public static int Write(SafeHandle fd, ReadOnlySpan<byte> data)
    {
        fixed (byte* pointer = data)
        {
            nint count;
            do
            {
                count = write(fd, pointer, data.Length);
            }
            while (Check.IsInterrupted(count));

            return (int)count;
        }
    }

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

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint read(SafeHandle fd, byte* buffer, nint count);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint write(SafeHandle fd, byte* buffer, nint count);
}
