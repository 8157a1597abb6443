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
                Message = DescribeNotStarted(notStarted, plan),
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
                Message = $"{DescribeEnd(ended)}, and its disk was full ({DescribeDisk(plan)})",
            },
            (_, InitEnded { Signal: { } signal } ended) => new(TerminationKind.Signaled) { Signal = signal, Message = DescribeEnd(ended) },
            (_, InitEnded ended) => new(TerminationKind.Exited) { ExitCode = ended.ExitCode, Message = DescribeEnd(ended) },
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

    private static string DescribeEnd(InitEnded ended) =>
        ended.Signal is { } signal ? $"killed by signal {signal}" : $"exited with code {ended.ExitCode}";

    private static string DescribeNotStarted(InitNotStarted failure, CommandPlan plan) => failure switch
    {
        { Stage: InitStage.Execute, Errno: Errno.ENOENT } =>
            $"the command '{plan.Start.Arguments[0]}', or the interpreter that it needs (of its #! line, or its dynamic loader), was not found in the image",
        { Stage: InitStage.Execute } =>
            $"the command '{plan.Start.Arguments[0]}' cannot be executed: {Describe(failure.Errno)}",
        { Stage: InitStage.WorkingDirectory } =>
            $"the working directory '{plan.Start.WorkingDirectory}' cannot be entered: {Describe(failure.Errno)}",
        _ => $"the command could not be started ({failure.Stage}): {Describe(failure.Errno)}",
    };

    private static string Describe(int errno) => Marshal.GetPInvokeErrorMessage(errno);
}
