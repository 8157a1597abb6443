using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Native;

/// <summary>fcntl.h and linux/openat2.h.</summary>
internal static unsafe partial class Fcntl
{
    public const int O_RDONLY = 0;
    public const int O_WRONLY = 1;
    public const int O_CREAT = 0x40;
    public const int O_EXCL = 0x80;
    public const int O_NONBLOCK = 0x800;
    public const int O_CLOEXEC = 0x80000;
    public const int O_PATH = 0x200000;

    public const int F_GETFL = 3;
    public const int F_SETFL = 4;

    public const int AT_FDCWD = -100;
    public const int AT_SYMLINK_NOFOLLOW = 0x100;
    public const int AT_REMOVEDIR = 0x200;
    public const int AT_EMPTY_PATH = 0x1000;

    public const ulong RESOLVE_NO_XDEV = 0x01;
    public const ulong RESOLVE_NO_MAGICLINKS = 0x02;
    public const ulong RESOLVE_NO_SYMLINKS = 0x04;
    public const ulong RESOLVE_BENEATH = 0x08;
    public const ulong RESOLVE_IN_ROOT = 0x10;

    // The values of these two depend on the architecture.
    public static readonly int O_DIRECTORY = RuntimeInformation.ProcessArchitecture is Architecture.Arm64 or Architecture.Arm ? 0x4000 : 0x10000;
    public static readonly int O_NOFOLLOW = RuntimeInformation.ProcessArchitecture is Architecture.Arm64 or Architecture.Arm ? 0x8000 : 0x20000;

    private const nint SYS_openat2 = 437;

    [StructLayout(LayoutKind.Sequential)]
    private struct open_how
    {
        public ulong flags;
        public ulong mode;
        public ulong resolve;
    }

    /// <summary>fcntl(2) with an integer argument. The C function is variadic; x86-64 and arm64 Linux pass such arguments like any others.</summary>
    [LibraryImport("libc", SetLastError = true)]
    public static partial int fcntl(SafeHandle fd, int command, int argument);

    /// <summary>openat(2) for a trusted path.</summary>
    [LibraryImport("libc", SetLastError = true)]
    public static partial SafeFileHandle openat(int dirfd, [MarshalAs(UnmanagedType.LPUTF8Str)] string path, int flags, uint mode);

    /// <summary>openat(2).</summary>
    /// <param name="dirfd">Directory of the name.</param>
    /// <param name="path">Name with a NUL at its end.</param>
    /// <param name="flags">Flags.</param>
    /// <param name="mode">Mode of a new file.</param>
    [LibraryImport("libc", SetLastError = true)]
    public static partial SafeFileHandle openat(SafeFileHandle dirfd, ReadOnlySpan<byte> path, int flags, uint mode);

    /// <summary>openat2(2), Linux 5.6. The C library has no wrapper.</summary>
    /// <param name="dirfd">Directory that the path starts in.</param>
    /// <param name="path">Path with a NUL at its end.</param>
    /// <param name="flags">Flags of open(2).</param>
    /// <param name="resolve">Flags that restrict the resolution of the path.</param>
    /// <returns>The descriptor, or an invalid handle with the last error set.</returns>
    public static SafeFileHandle openat2(SafeFileHandle dirfd, ReadOnlySpan<byte> path, int flags, ulong resolve)
    {
        var how = new open_how { flags = (uint)(flags | O_CLOEXEC), resolve = resolve };
        bool held = false;
        dirfd.DangerousAddRef(ref held);
        try
        {
            fixed (byte* pointer = path)
            {
                // With RESOLVE_IN_ROOT the call returns EAGAIN if another process renames a directory meanwhile: openat2(2).
                for (int attempt = 0; ; attempt++)
                {
                    nint descriptor = syscall(SYS_openat2, dirfd.DangerousGetHandle(), pointer, &how, (nuint)sizeof(open_how));
                    if (descriptor >= 0)
                    {
                        return new SafeFileHandle(descriptor, ownsHandle: true);
                    }

                    if (!Check.IsInterrupted(descriptor) && !(Marshal.GetLastPInvokeError() == Errno.EAGAIN && attempt < 64))
                    {
                        return new SafeFileHandle(-1, ownsHandle: true);
                    }
                }
            }
        }
        finally
        {
            dirfd.DangerousRelease();
        }
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint syscall(nint number, nint dirfd, byte* path, open_how* how, nuint size);
}
