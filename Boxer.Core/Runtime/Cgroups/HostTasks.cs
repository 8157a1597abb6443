namespace Boxer.Runtime.Cgroups;

/// <summary>
/// Limit of the host's processes and threads of a sandbox. RLIMIT_NPROC limits each user of a sandbox separately, and user 0 can become 65,535
/// others; this limit holds for all users together.
/// </summary>
/// <remarks>docs/limits.md has measured values of programs.</remarks>
internal static class HostTasks
{
    /// <summary>Upper bound of the tasks of a booted sandbox before it runs a command: 25 to 31 were measured on 2 processors.</summary>
    internal const int Idle = 64;

    private const string Ptrace = "ptrace";

    // PID_MAX_LIMIT of Linux.
    private const long MaxTasks = 4_194_304;

    private const int BaseTasks = 128;

    // runsc and its file server are Go programs, which start threads for each processor.
    private const int TasksPerProcessor = 4;

    // For each process of the command, runsc has a process with up to one thread per processor and one more. It keeps them for later processes.
    private const int TasksPerProcess = 2;

    // With ptrace, each thread of runsc that has run a process of the command has a thread in it: a parallel build of 60 processes on 2 processors
    // had 3,069.
    private const int PtraceBaseTasks = 512;
    private const int PtraceTasksPerProcessor = 32;

    /// <summary>Computes the limit.</summary>
    /// <param name="pids">Limit of processes and threads of one user in the sandbox.</param>
    /// <param name="platform">Name of the gVisor platform.</param>
    /// <param name="processors">Number of processors that runsc may use.</param>
    internal static int Limit(int pids, string platform, int processors) => (int)Math.Min(
        MaxTasks,
        platform == Ptrace
            ? PtraceBaseTasks + (PtraceTasksPerProcessor * (long)processors * pids)
            : BaseTasks + (TasksPerProcessor * processors) + ((TasksPerProcess + (long)processors) * pids));
}
