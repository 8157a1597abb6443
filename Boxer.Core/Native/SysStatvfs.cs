using System.Runtime.InteropServices;

namespace Boxer.Native;

/// <summary>sys/statvfs.h.</summary>
internal static unsafe partial class SysStatvfs
{
    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int statvfs(string path, out statvfs_t buffer);

    /// <summary>struct statvfs of 64-bit architectures.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct statvfs_t
    {
        public ulong f_bsize;
        public ulong f_frsize;
        public ulong f_blocks;
        public ulong f_bfree;
        public ulong f_bavail;
        public ulong f_files;
        public ulong f_ffree;
        public ulong f_favail;
        private fixed ulong _rest[8];
    }
}
