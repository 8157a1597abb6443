using System.Runtime.InteropServices;

namespace Boxer.Native;

/// <summary>Failure of a system call.</summary>
internal sealed class NativeException(string call, int errno, string? subject)
    : IOException($"{call}{(subject is null ? "" : $" {subject}")}: {Marshal.GetPInvokeErrorMessage(errno)} (errno {errno})", errno)
{
    /// <summary>Error number of the call (errno(3)).</summary>
    public int Errno { get; } = errno;
}

/// <summary>Turns the results of system calls into exceptions.</summary>
internal static class Check
{
    /// <summary>Whether a signal interrupted a call, so that it must be repeated.</summary>
    /// <param name="result">Return value of the call: negative for failure.</param>
    public static bool IsInterrupted(nint result) => result < 0 && Marshal.GetLastPInvokeError() == Errno.EINTR;

    /// <summary>Returns the result of a call, or throws if the call failed.</summary>
    /// <param name="result">Return value of the call: negative for failure.</param>
    /// <param name="call">Name of the call.</param>
    /// <param name="subject">Object of the call, for the message. Not text from a guest.</param>
    /// <exception cref="NativeException">The call failed.</exception>
    public static int Result(int result, string call, string? subject = null) =>
        result >= 0 ? result : throw new NativeException(call, Marshal.GetLastPInvokeError(), subject);

    /// <inheritdoc cref="Result(int, string, string?)"/>
    public static long Result(long result, string call, string? subject = null) =>
        result >= 0 ? result : throw new NativeException(call, Marshal.GetLastPInvokeError(), subject);

    /// <summary>Throws if a call failed that returns its error number, such as posix_spawn(3).</summary>
    /// <param name="errno">Return value of the call: 0 for success.</param>
    /// <param name="call">Name of the call.</param>
    /// <param name="subject">Object of the call, for the message.</param>
    /// <exception cref="NativeException">The call failed.</exception>
    public static void Error(int errno, string call, string? subject = null)
    {
        if (errno != 0)
        {
            throw new NativeException(call, errno, subject);
        }
    }
}
