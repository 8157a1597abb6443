using System.Runtime.InteropServices;

namespace Boxer.Native;

/// <summary>signal.h.</summary>
internal static partial class Signal
{
    public const int SIGKILL = 9;

    /// <summary>kill(2).</summary>
    [LibraryImport("libc", SetLastError = true)]
    public static partial int kill(int pid, int signal);
}
