namespace Boxer.Runtime.Cgroups;

/// <summary>
/// How many processes and threads of the host a sandbox may have. RLIMIT_NPROC limits each user of a sandbox, and user 0 can become 65,535
/// others, so this is the limit of all users together.
/// </summary>
/// <remarks>docs/limits.md has what programs were seen to take.</remarks>
internal static class HostTasks
{
    /// <summary>More than a booted sandbox has before it runs anything: 25 to 31 on 2 processors.</summary>
    internal const int Idle = 64;

    private const string Ptrace = "ptrace";

    // PID_MAX_LIMIT of Linux.
    private const long Most = 4_194_304;

    private const int Base = 128;

    // runsc and its file server are Go programs, which have threads for the processors that they find.
    private const int ForEachProcessor = 4;

    // For each process of the command runsc has a process with up to one thread for each processor and one more, and keeps them for later processes.
    private const int ForEach = 2;

    // With ptrace each thread of runsc that has run a process of the command has a thread in it: 3,069 for a parallel build of 60 processes on 2 processors.
    private const int PtraceBase = 512;
    private const int PtraceForEachProcessor = 32;

    /// <summary>Gets the limit.</summary>
    /// <param name="pids">The limit of processes and threads of one user.</param>
    /// <param name="platform">The gVisor platform.</param>
    /// <param name="processors">Processors that runsc may use.</param>
    internal static int Limit(int pids, string platform, int processors) => (int)Math.Min(
        Most,
        platform == Ptrace ? PtraceBase + (PtraceForEachProcessor * (long)processors * pids) : Base + (ForEachProcessor * processors) + ((ForEach + (long)processors) * pids));
}
