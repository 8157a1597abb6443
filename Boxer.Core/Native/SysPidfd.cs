using System.Runtime.InteropServices;

namespace Boxer.Native;

/// <summary>sys/pidfd.h and the part of sys/wait.h for pidfds.</summary>
internal static unsafe partial class SysPidfd
{
    public const int P_PID = 1;
    public const int P_PIDFD = 3;
    public const int WEXITED = 4;
    public const int CLD_EXITED = 1;

    // These numbers are the same on every architecture.
    private const long SYS_pidfd_send_signal = 424;
    private const long SYS_pidfd_open = 434;

    /// <summary>pidfd_open(2), through syscall(2): older C libraries have no wrapper.</summary>
    public static int pidfd_open(int pid, uint flags) => (int)syscall(SYS_pidfd_open, pid, flags, 0, 0);

    /// <summary>pidfd_send_signal(2).</summary>
    public static int pidfd_send_signal(SafeHandle pidfd, int signal)
    {
        bool held = false;
        try
        {
            pidfd.DangerousAddRef(ref held);
            return (int)syscall(SYS_pidfd_send_signal, pidfd.DangerousGetHandle(), signal, 0, 0);
        }
        finally
        {
            if (held)
            {
                pidfd.DangerousRelease();
            }
        }
    }

    /// <summary>waitid(2); <paramref name="info"/> is a siginfo_t of 128 bytes.</summary>
    [LibraryImport("libc", SetLastError = true)]
    public static partial int waitid(int idtype, uint id, byte* info, int options);

    [LibraryImport("libc", SetLastError = true)]
    private static partial long syscall(long number, long a, long b, long c, long d);
}
