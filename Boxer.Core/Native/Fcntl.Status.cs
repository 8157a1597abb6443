using System.Runtime.InteropServices;

namespace Boxer.Native;

/// <summary>fcntl.h</summary>
internal static partial class Fcntl
{
    public const int F_GETFL = 3;
    public const int F_SETFL = 4;

    /// <summary>fcntl(2) with an integer argument. It is variadic in C: correct on x86-64 and arm64 Linux, where such arguments travel as others do.</summary>
    [LibraryImport("libc", SetLastError = true)]
    public static partial int fcntl(SafeHandle fd, int command, int argument);
}
