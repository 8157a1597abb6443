using System.Runtime.InteropServices;

namespace Boxer.Native;

/// <summary>sys/file.h.</summary>
internal static partial class SysFile
{
    public const int LOCK_SH = 1;
    public const int LOCK_EX = 2;
    public const int LOCK_NB = 4;
    public const int LOCK_UN = 8;

    /// <summary>flock(2).</summary>
    [LibraryImport("libc", SetLastError = true)]
    public static partial int flock(SafeHandle fd, int operation);
}
