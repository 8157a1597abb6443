using System.Runtime.InteropServices;

namespace Boxer.Native;

/// <summary>sys/epoll.h.</summary>
internal static unsafe partial class SysEpoll
{
    public const int EPOLL_CLOEXEC = 0x80000;
    public const int EPOLL_CTL_ADD = 1;
    public const int EPOLL_CTL_DEL = 2;
    public const int EPOLL_CTL_MOD = 3;
    public const uint EPOLLIN = 0x001;
    public const uint EPOLLPRI = 0x002;
    public const uint EPOLLOUT = 0x004;
    public const uint EPOLLONESHOT = 1u << 30;

    /// <summary>epoll_create1(2).</summary>
    [LibraryImport("libc", SetLastError = true)]
    public static partial int epoll_create1(int flags);

    /// <summary>epoll_ctl(2); <paramref name="event"/> points to an event that <see cref="WriteEpollEvent"/> wrote.</summary>
    [LibraryImport("libc", SetLastError = true)]
    public static partial int epoll_ctl(int epfd, int op, int fd, byte* @event);

    /// <summary>epoll_wait(2).</summary>
    [LibraryImport("libc", SetLastError = true)]
    public static partial int epoll_wait(int epfd, byte* events, int maxEvents, int timeoutMilliseconds);

    /// <summary>sizeof(struct epoll_event): packed on x86-64 only.</summary>
    public static int SizeOfEpollEvent { get; } = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 12 : 16;

    private static int EpollDataOffset => SizeOfEpollEvent - sizeof(ulong);

    public static void WriteEpollEvent(byte* destination, uint events, ulong data)
    {
        *(uint*)destination = events;
        *(ulong*)(destination + EpollDataOffset) = data;
    }

    public static ulong ReadEpollData(byte* source) => *(ulong*)(source + EpollDataOffset);
}
