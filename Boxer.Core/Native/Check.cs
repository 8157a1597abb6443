using System.Runtime.InteropServices;

namespace Boxer.Native;

/// <summary>A system call failed.</summary>
internal sealed class NativeException(string call, int errno, string? subject)
    : IOException($"{call}{(subject is null ? "" : $" {subject}")}: {Marshal.GetPInvokeErrorMessage(errno)} (errno {errno})", errno)
{
    /// <summary>The errno (errno(3)).</summary>
    public int Errno { get; } = errno;
}

/// <summary>Turns the results of system calls into exceptions.</summary>
internal static class Check
{
    /// <summary>Throws if <paramref name="result"/> says that the call failed.</summary>
    /// <param name="result">What the call returned: negative for failure.</param>
    /// <param name="call">The name of the call.</param>
    /// <param name="subject">What it was about, for the message; not a guest's text.</param>
    public static int Result(int result, string call, string? subject = null) =>
        result >= 0 ? result : throw new NativeException(call, Marshal.GetLastPInvokeError(), subject);

    /// <summary>Throws if <paramref name="result"/> says that the call failed.</summary>
    /// <param name="result">What the call returned: negative for failure.</param>
    /// <param name="call">The name of the call.</param>
    /// <param name="subject">What it was about, for the message.</param>
    public static long Result(long result, string call, string? subject = null) =>
        result >= 0 ? result : throw new NativeException(call, Marshal.GetLastPInvokeError(), subject);

    /// <summary>Throws if a call that returns its errno, as posix_spawn(3) does, failed.</summary>
    /// <param name="errno">What the call returned: 0 for success.</param>
    /// <param name="call">The name of the call.</param>
    /// <param name="subject">What it was about, for the message.</param>
    public static void Error(int errno, string call, string? subject = null)
    {
        if (errno != 0)
        {
            throw new NativeException(call, errno, subject);
        }
    }
}
