using System.Runtime.InteropServices;

namespace Boxer.Native;

/// <summary>unistd.h</summary>
internal static unsafe partial class Unistd
{
    /// <summary>pipe2(2).</summary>
    [LibraryImport("libc", SetLastError = true)]
    public static partial int pipe2(int* fds, int flags);

    /// <summary>read(2).</summary>
    [LibraryImport("libc", SetLastError = true)]
    public static partial nint read(SafeHandle fd, byte* buffer, nint count);

    /// <summary>write(2).</summary>
    [LibraryImport("libc", SetLastError = true)]
    public static partial nint write(SafeHandle fd, byte* buffer, nint count);

    /// <summary>getegid(2).</summary>
    [LibraryImport("libc")]
    public static partial uint getegid();
}
