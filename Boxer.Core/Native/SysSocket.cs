using System.Runtime.InteropServices;

namespace Boxer.Native;

/// <summary>sys/socket.h.</summary>
internal static unsafe partial class SysSocket
{
    /// <summary>Maximum number of descriptors in one message of <see cref="SendDescriptors"/>.</summary>
    public const int MaxDescriptors = 3;

    public const int AF_UNIX = 1;
    public const int SOCK_STREAM = 1;
    public const int SOCK_CLOEXEC = 0x80000;

    public const int SOL_SOCKET = 1;
    public const int SCM_RIGHTS = 1;
    public const int MSG_DONTWAIT = 0x40;
    public const int MSG_NOSIGNAL = 0x4000;

    /// <summary>socketpair(2).</summary>
    [LibraryImport("libc", SetLastError = true)]
    public static partial int socketpair(int domain, int type, int protocol, int* sv);

    /// <summary>sendmsg(2) with descriptors (SCM_RIGHTS, unix(7)), repeated if a signal interrupts it. Does not block.</summary>
    /// <param name="socket">AF_UNIX socket to send to.</param>
    /// <param name="data">Bytes to send; at least one.</param>
    /// <param name="descriptors">Descriptors that go with the first byte, at most <see cref="MaxDescriptors"/>.</param>
    /// <returns>Number of bytes sent, or -1 with the last error set. The descriptors are sent unless the result is -1.</returns>
    public static int SendDescriptors(SafeHandle socket, ReadOnlySpan<byte> data, ReadOnlySpan<SafeHandle> descriptors)
    {
        int length = sizeof(ControlHeader) + (descriptors.Length * sizeof(int));
        byte* control = stackalloc byte[sizeof(ControlHeader) + (MaxDescriptors * sizeof(int))];
        *(ControlHeader*)control = new ControlHeader { Length = (nuint)length, Level = SOL_SOCKET, Type = SCM_RIGHTS };
        var numbers = new Span<int>(control + sizeof(ControlHeader), MaxDescriptors);
        int referenced = 0;
        try
        {
            for (; referenced < descriptors.Length; referenced++)
            {
                // Another thread may close it meanwhile. Its number would then be that of another file.
                bool isReferenced = false;
                descriptors[referenced].DangerousAddRef(ref isReferenced);
                numbers[referenced] = descriptors[referenced].DangerousGetHandle().ToInt32();
            }

            return Send(socket, data, control, length);
        }
        finally
        {
            foreach (SafeHandle descriptor in descriptors[..referenced])
            {
                descriptor.DangerousRelease();
            }
        }
    }

    private static int Send(SafeHandle socket, ReadOnlySpan<byte> data, byte* control, int length)
    {
        fixed (byte* pointer = data)
        {
            var content = new Content { Start = pointer, Length = (nuint)data.Length };
            var message = new Message { Content = &content, ContentCount = 1, Control = control, ControlLength = (nuint)length };
            nint sent;
            do
            {
                sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
            }
            while (Check.IsInterrupted(sent));

            return (int)sent;
        }
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint sendmsg(SafeHandle sockfd, Message* msg, int flags);

    // struct msghdr of glibc and, because the upper halves of the counts are zero, of musl.
    [StructLayout(LayoutKind.Sequential)]
    private struct Message
    {
        public void* Name;
        public uint NameLength;
        public Content* Content;
        public nuint ContentCount;
        public void* Control;
        public nuint ControlLength;
        public int Flags;
    }

    // struct iovec.
    [StructLayout(LayoutKind.Sequential)]
    private struct Content
    {
        public byte* Start;
        public nuint Length;
    }

    // struct cmsghdr.
    [StructLayout(LayoutKind.Sequential)]
    private struct ControlHeader
    {
        public nuint Length;
        public int Level;
        public int Type;
    }
}
