using System.Runtime.InteropServices;

namespace Boxer.Native;

/// <summary>sched.h</summary>
internal static unsafe partial class Sched
{
    /// <summary>sched_getaffinity(2); <paramref name="pid"/> is a thread.</summary>
    [LibraryImport("libc", SetLastError = true)]
    public static partial int sched_getaffinity(int pid, nuint size, byte* mask);

    /// <summary>sched_setaffinity(2); <paramref name="pid"/> is a thread.</summary>
    [LibraryImport("libc", SetLastError = true)]
    public static partial int sched_setaffinity(int pid, nuint size, byte* mask);
}
