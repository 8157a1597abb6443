using System.Globalization;
using System.Runtime.InteropServices;
using Boxer.Common;
using Boxer.Native;
using Boxer.Runtime.Init;

namespace Boxer.Runtime;

/// <summary>Says how a run ended, from why we stopped it and from what PID 1 reported.</summary>
internal static class Terminations
{
    /// <param name="stopped">Why we stopped it, or <see langword="null"/> when it ended by itself. It outranks the report.</param>
    /// <param name="end">What PID 1 reported last; <see cref="InitClosed"/> when it died.</param>
    /// <param name="work">The work.</param>
    internal static Termination From(TerminationKind? stopped, InitEvent end, CommandPlan work)
    {
        ResourceLimits limits = work.Limits;
        return (stopped, end) switch
        {
            (TerminationKind.MemoryLimit, _) => new(TerminationKind.MemoryLimit)
            {
                Message = $"killed: the sandbox reached its memory limit of {ByteSize.Format(limits.MemoryBytes!.Value)} (files that it wrote count, wherever they are)",
            },
            (TerminationKind.PidsLimit, _) => new(TerminationKind.PidsLimit)
            {
                Message = $"killed: the sandbox reached {work.Cgroup.HostPids} processes and threads of this host, the limit of all its users together where each may have {limits.Pids}: a higher limit may help",
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
                Message = DescribeNotStarted(notStarted, work),
            },
            (_, InitFileFailed failed) => new(TerminationKind.NotStarted)
            {
                Errno = failed.Errno,
                Message = failed.Path == work.Workspace?.Path.Text
                    ? $"the workspace {failed.Path} cannot be made in this image: {Describe(failed.Errno)}; choose another path"
                    : $"{Input(failed)}: {Describe(failed.Errno)}{RoomHint(failed, work)}",
            },
            (_, InitEnded { IsTmpfsFull: true } ended) when ended.ExitCode != 0 => new(TerminationKind.DiskLimit)
            {
                ExitCode = ended.ExitCode,
                Signal = ended.Signal,
                Message = $"{DescribeEnd(ended)}, and its disk was full ({Room(work)})",
            },
            (_, InitEnded { Signal: { } signal } ended) => new(TerminationKind.Signaled) { Signal = signal, Message = DescribeEnd(ended) },
            (_, InitEnded ended) => new(TerminationKind.Exited) { ExitCode = ended.ExitCode, Message = DescribeEnd(ended) },
            _ => new(TerminationKind.SandboxDied) { Message = "the sandbox died before it reported how the command ended" },
        };
    }

    // Only those of a workspace are relative.
    private static string Input(InitFileFailed failed) => failed.Path.StartsWith('/')
        ? $"the input file {UntrustedText.Show(failed.Path)} could not be put into the sandbox"
        : $"\"{UntrustedText.Show(failed.Path)}\" could not be put into the workspace";

    private static string RoomHint(InitFileFailed failed, CommandPlan work) => failed.Errno == Errno.ENOSPC ? $" ({Room(work)})" : "";

    private static string Room(CommandPlan work) =>
        $"/tmp, $HOME, /dev/shm{(work.Workspace is null ? "" : ", the workspace")} and /output have {ByteSize.Format(work.Limits.DiskBytes!.Value)} together";

    // Nothing counts the forks that failed. A command that waits for one is at its limit.
    private static string TasksHint(InitEvent end, ResourceLimits limits) =>
        end is InitEnded { TasksAtKill: var tasks } && tasks >= limits.Pids
            ? $"; it had {tasks} processes and threads, and more than {limits.Pids} are not allowed: a higher limit may help"
            : "";

    private static string DescribeEnd(InitEnded ended) =>
        ended.Signal is { } signal ? $"killed by signal {signal}" : $"exited with code {ended.ExitCode}";

    private static string DescribeNotStarted(InitNotStarted failure, CommandPlan work) => failure switch
    {
        { Stage: InitStage.Execute, Errno: Errno.ENOENT } =>
            $"the command '{work.Start.Arguments[0]}', or the interpreter that it needs (of its #! line, or its dynamic loader), was not found in the image",
        { Stage: InitStage.Execute } =>
            $"the command '{work.Start.Arguments[0]}' cannot be executed: {Describe(failure.Errno)}",
        { Stage: InitStage.WorkingDirectory } =>
            $"the working directory '{work.Start.WorkingDirectory}' cannot be entered: {Describe(failure.Errno)}",
        _ => $"the command could not be started ({failure.Stage}): {Describe(failure.Errno)}",
    };

    private static string Describe(int errno) => Marshal.GetPInvokeErrorMessage(errno);
}
