using System.Net.Sockets;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Processes;

/// <summary>Pair of connected AF_UNIX stream sockets (socketpair(2)).</summary>
internal static class SocketPair
{
    /// <summary>Creates a pair.</summary>
    /// <returns>The end of this process, and the end for another one.</returns>
    /// <exception cref="NativeException">The process has no free descriptors.</exception>
    internal static unsafe (Socket Ours, SafeFileHandle Theirs) Create()
    {
        int* ends = stackalloc int[2];
        Check.Result(SysSocket.socketpair(SysSocket.AF_UNIX, SysSocket.SOCK_STREAM | SysSocket.SOCK_CLOEXEC, 0, ends), "socketpair");
        return (new Socket(new SafeSocketHandle(ends[0], ownsHandle: true)), new SafeFileHandle(ends[1], ownsHandle: true));
    }
}
