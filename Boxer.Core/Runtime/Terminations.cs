using System.Globalization;
using System.Runtime.InteropServices;
using Boxer.Common;
using Boxer.Native;
using Boxer.Runtime.Init;

namespace Boxer.Runtime;

/// <summary>Creates the <see cref="Termination"/> of a run, from the limit that stopped it and the last report of PID 1.</summary>
internal static class Terminations
{
    /// <summary>Creates the termination.</summary>
    /// <param name="stopped">The limit that ended the command; <see langword="null"/> if it ended by itself. It outranks the report.</param>
    /// <param name="end">The last report of PID 1; <see cref="InitClosed"/> if PID 1 died.</param>
    /// <param name="plan">The command.</param>
    internal static Termination From(TerminationKind? stopped, InitEvent end, CommandPlan plan)
    {
        ResourceLimits limits = plan.Limits;
        return (stopped, end) switch
        {
            (TerminationKind.MemoryLimit, _) => new(TerminationKind.MemoryLimit)
            {
                Message = $"killed: the sandbox reached its memory limit of {ByteSize.Format(limits.MemoryBytes!.Value)} (files that it wrote count, wherever they are)",
            },
            (TerminationKind.PidsLimit, _) => new(TerminationKind.PidsLimit)
            {
                Message = $"killed: the sandbox reached {plan.Cgroup.HostPids} processes and threads of this host, the limit of all its users together where each may have {limits.Pids}: a higher limit may help",
            },
            (TerminationKind.OutputLimit, _) => new(TerminationKind.OutputLimit)
            {
                Message = $"killed: the command printed more than its output limit of {limits.StandardOutputBytes} bytes",
            },
            (TerminationKind.WallClockLimit, _) => new(TerminationKind.WallClockLimit)
            {
                Message = string.Create(CultureInfo.InvariantCulture, $"killed: the command reached its wall-clock limit of {limits.WallClock!.Value.TotalSeconds:0.###} s{TasksHint(end, limits)}"),
            },
            (TerminationKind.CpuTimeLimit, _) => new(TerminationKind.CpuTimeLimit)
            {
                Message = string.Create(CultureInfo.InvariantCulture, $"killed: the sandbox reached its cpu-time limit of {limits.CpuTime!.Value.TotalSeconds:0.###} s{TasksHint(end, limits)}"),
            },
            (TerminationKind.SandboxDied, _) => new(TerminationKind.SandboxDied) { Message = "killed: this host, or the part of it that runs sandboxes, had no more memory, or no more processes" },
            (_, InitNotStarted notStarted) => new(TerminationKind.NotStarted)
            {
                Errno = notStarted.Errno,
                Message = DescribeNotStarted(notStarted.Stage, notStarted.Errno, plan.Start.Arguments[0], plan.Start.WorkingDirectory),
            },
            (_, InitFileFailed failed) => new(TerminationKind.NotStarted)
            {
                Errno = failed.Errno,
                Message = failed.Path == plan.Workspace?.Path.Text
                    ? $"the workspace {failed.Path} cannot be made in this image: {Describe(failed.Errno)}; choose another path"
                    : $"{DescribeInput(failed)}: {Describe(failed.Errno)}{DiskHint(failed, plan)}",
            },
            (_, InitEnded { IsTmpfsFull: true } ended) when ended.ExitCode != 0 => new(TerminationKind.DiskLimit)
            {
                ExitCode = ended.ExitCode,
                Signal = ended.Signal,
                Message = $"{DescribeEnd(ended.ExitCode, ended.Signal)}, and its disk was full ({DescribeDisk(plan)})",
            },
            (_, InitEnded { Signal: { } signal }) => Termination.Signaled(signal),
            (_, InitEnded ended) => Termination.Exited(ended.ExitCode!.Value),
            _ => new(TerminationKind.SandboxDied) { Message = "the sandbox died before it reported how the command ended" },
        };
    }

    // Only the paths of a workspace are relative.
    private static string DescribeInput(InitFileFailed failed) => failed.Path.StartsWith('/')
        ? $"the input file {UntrustedText.Show(failed.Path)} could not be put into the sandbox"
        : $"\"{UntrustedText.Show(failed.Path)}\" could not be put into the workspace";

    private static string DiskHint(InitFileFailed failed, CommandPlan plan) => failed.Errno == Errno.ENOSPC ? $" ({DescribeDisk(plan)})" : "";

    private static string DescribeDisk(CommandPlan plan) =>
        $"/tmp, $HOME, /dev/shm{(plan.Workspace is null ? "" : ", the workspace")} and /output have {ByteSize.Format(plan.Limits.DiskBytes!.Value)} together";

    // Failed forks are not counted anywhere. A command that waits for one is at its limit.
    private static string TasksHint(InitEvent end, ResourceLimits limits) =>
        end is InitEnded { TasksAtKill: var tasks } && tasks >= limits.Pids
            ? $"; it had {tasks} processes and threads, and more than {limits.Pids} are not allowed: a higher limit may help"
            : "";

    /// <summary>Describes the end of a process.</summary>
    /// <param name="exitCode">Its exit code; <see langword="null"/> if a signal killed it.</param>
    /// <param name="signal">The signal that killed it; otherwise <see langword="null"/>.</param>
    internal static string DescribeEnd(int? exitCode, int? signal) => signal is not null ? $"killed by signal {signal}" : $"exited with code {exitCode}";

    /// <summary>Describes why a command was not started.</summary>
    /// <param name="stage">The step that failed.</param>
    /// <param name="errno">Its error number.</param>
    /// <param name="program">The program.</param>
    /// <param name="workingDirectory">The working directory.</param>
    internal static string DescribeNotStarted(InitStage stage, int errno, string program, string workingDirectory) => (stage, errno) switch
    {
        (InitStage.Execute, Errno.ENOENT) =>
            $"the command '{program}', or the interpreter that it needs (of its #! line, or its dynamic loader), was not found in the image",
        (InitStage.Execute, _) => $"the command '{program}' cannot be executed: {Describe(errno)}",
        (InitStage.WorkingDirectory, _) => $"the working directory '{workingDirectory}' cannot be entered: {Describe(errno)}",
        _ => $"the command could not be started ({stage}): {Describe(errno)}",
    };

    /// <summary>Describes an error number.</summary>
    internal static string Describe(int errno) => Marshal.GetPInvokeErrorMessage(errno);
}
