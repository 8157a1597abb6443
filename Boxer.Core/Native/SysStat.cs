using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Native;

/// <summary>sys/stat.h. Paths have a NUL at their end.</summary>
internal static unsafe partial class SysStat
{
    public const ushort S_IFMT = 0xF000;
    public const ushort S_IFLNK = 0xA000;
    public const ushort S_IFREG = 0x8000;
    public const ushort S_IFDIR = 0x4000;
    public const ushort S_IFCHR = 0x2000;

    public const uint STATX_BASIC_STATS = 0x7FF;
    public const long UTIME_OMIT = (1 << 30) - 2;

    [LibraryImport("libc", SetLastError = true)]
    public static partial int mkdirat(SafeFileHandle dirfd, ReadOnlySpan<byte> path, uint mode);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int fchmod(SafeFileHandle fd, uint mode);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int futimens(SafeFileHandle fd, timespec_t* times);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int utimensat(SafeFileHandle dirfd, ReadOnlySpan<byte> path, timespec_t* times, int flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int statx(SafeFileHandle dirfd, ReadOnlySpan<byte> path, int flags, uint mask, out statx_t buffer);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int statx(int dirfd, [MarshalAs(UnmanagedType.LPUTF8Str)] string path, int flags, uint mask, out statx_t buffer);

    /// <summary>mknodat(2), through syscall(2): C libraries before glibc 2.33 do not export it.</summary>
    /// <param name="dirfd">Directory of the name.</param>
    /// <param name="path">Name with a NUL at its end.</param>
    /// <param name="mode">Type and mode.</param>
    /// <param name="dev">Device number.</param>
    public static int mknodat(SafeFileHandle dirfd, ReadOnlySpan<byte> path, uint mode, uint dev)
    {
        nint number = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 259 : 33;
        bool held = false;
        dirfd.DangerousAddRef(ref held);
        try
        {
            fixed (byte* pointer = path)
            {
                return (int)syscall(number, dirfd.DangerousGetHandle(), pointer, (nint)mode, (nint)dev);
            }
        }
        finally
        {
            dirfd.DangerousRelease();
        }
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint syscall(nint number, nint dirfd, byte* path, nint mode, nint dev);

    [StructLayout(LayoutKind.Sequential)]
    public struct timespec_t
    {
        public long tv_sec;
        public long tv_nsec;
    }

    /// <summary>struct statx: the same on every architecture, unlike struct stat.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct statx_t
    {
        public uint stx_mask;
        public uint stx_blksize;
        public ulong stx_attributes;
        public uint stx_nlink;
        public uint stx_uid;
        public uint stx_gid;
        public ushort stx_mode;
        public ushort spare0;
        public ulong stx_ino;
        public ulong stx_size;
        public ulong stx_blocks;
        public ulong stx_attributes_mask;
        public statx_timestamp stx_atime;
        public statx_timestamp stx_btime;
        public statx_timestamp stx_ctime;
        public statx_timestamp stx_mtime;
        public uint stx_rdev_major;
        public uint stx_rdev_minor;
        public uint stx_dev_major;
        public uint stx_dev_minor;
        private fixed ulong _spare2[14];

        /// <summary>File type bits of the mode.</summary>
        public readonly ushort Type => (ushort)(stx_mode & S_IFMT);
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct statx_timestamp
    {
        public long tv_sec;
        public uint tv_nsec;
        private int _reserved;
    }
}
