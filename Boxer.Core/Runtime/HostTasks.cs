namespace Boxer.Runtime;

/// <summary>
/// How many processes and threads of the host a sandbox may have. RLIMIT_NPROC limits each user of a sandbox, and user 0 can become 65,535
/// others, so this is the limit of all users together.
/// </summary>
/// <remarks>docs/limits.md has what programs were seen to take.</remarks>
internal static class HostTasks
{
    private const string Ptrace = "ptrace";

    // runsc and its file server, with nothing in the sandbox: 25 to 31.
    private const int Base = 128;

    // Both are Go programs, which have threads for the processors that they find.
    private const int ForEachProcessor = 4;

    // A process has up to 3, a thread 1.
    private const int ForEach = 4;

    // With ptrace each thread of runsc that has run a process has a thread in it: 3,069 for a parallel build of 60 processes on 2 processors.
    private const int PtraceBase = 512;
    private const int PtraceForEach = 64;

    /// <summary>Gets the limit.</summary>
    /// <param name="pids">The limit of processes and threads of one user.</param>
    /// <param name="platform">The gVisor platform.</param>
    /// <param name="processors">Processors that this process may use.</param>
    internal static int Limit(int pids, string platform, int processors) =>
        platform == Ptrace ? PtraceBase + (PtraceForEach * pids) : Base + (ForEachProcessor * processors) + (ForEach * pids);
}
