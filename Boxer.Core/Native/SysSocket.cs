using System.Runtime.InteropServices;

namespace Boxer.Native;

/// <summary>sys/socket.h.</summary>
internal static unsafe partial class SysSocket
{
    public const int AF_UNIX = 1;
    public const int SOCK_STREAM = 1;
    public const int SOCK_CLOEXEC = 0x80000;

    /// <summary>socketpair(2).</summary>
    [LibraryImport("libc", SetLastError = true)]
    public static partial int socketpair(int domain, int type, int protocol, int* sv);
}
