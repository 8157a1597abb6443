using System.Globalization;
using Boxer.Native;
using Boxer.Runtime.Init;

namespace Boxer.Runtime.Kept;

/// <summary>Creates the <see cref="Termination"/> of a command in a kept sandbox.</summary>
internal static class ExecTerminations
{
    /// <summary>Creates the termination.</summary>
    /// <param name="stopped">The limit that ended the command; <see langword="null"/> if it ended by itself. It outranks the report.</param>
    /// <param name="end">The last report of PID 1; <see langword="null"/> if the sandbox ended before.</param>
    /// <param name="plan">The command.</param>
    /// <param name="sandbox">The sandbox.</param>
    internal static Termination From(TerminationKind? stopped, SessionItemEvent? end, ExecPlan plan, OpenPlan sandbox) => (stopped, end) switch
    {
        ({ } limit, _) => FromLimit(limit, plan, sandbox),
        (_, SessionProcessNotStarted failure) => Termination.NotStarted(
            failure.Errno, Terminations.DescribeNotStarted(failure.Stage, failure.Errno, plan.Arguments[0], plan.WorkingDirectory)),
        (_, SessionProcessEnded { IsTmpfsFull: true } ended) when ended.ExitCode != 0 => Termination.Limit(
            TerminationKind.DiskLimit,
            $"{Terminations.DescribeEnd(ended.ExitCode, ended.Signal)}, and its disk was full ({DescribeDisk(sandbox)})",
            ended.ExitCode,
            ended.Signal),
        (_, SessionProcessEnded { Signal: { } signal }) => Termination.Signaled(signal),
        (_, SessionProcessEnded { ExitCode: { } code }) => Termination.Exited(code),
        _ => Termination.SandboxDied("the sandbox ended before it reported how the command ended"),
    };

    private static Termination FromLimit(TerminationKind limit, ExecPlan plan, OpenPlan sandbox)
    {
        string? message = limit switch
        {
            TerminationKind.MemoryLimit =>
                $"killed: the sandbox reached its memory limit of {ByteSize.Format(sandbox.Limits.MemoryBytes!.Value)} (files that it wrote count, wherever they are)",
            TerminationKind.PidsLimit => $"killed: the sandbox reached {sandbox.Cgroup.HostPids} processes and threads of this host, the limit of all its commands together",
            TerminationKind.OutputLimit => $"killed: the command printed more than its output limit of {plan.OutputLimit} bytes",
            TerminationKind.WallClockLimit =>
                string.Create(CultureInfo.InvariantCulture, $"killed: the command reached its wall-clock limit of {plan.WallClock?.TotalSeconds:0.###} s"),
            TerminationKind.CpuTimeLimit =>
                string.Create(CultureInfo.InvariantCulture, $"killed: the command reached its cpu-time limit of {plan.CpuTime?.TotalSeconds:0.###} s"),
            TerminationKind.DiskLimit => $"killed: the disk of the sandbox was full ({DescribeDisk(sandbox)})",
            _ => null,
        };

        // The command was killed, so its end is the kill.
        return limit switch
        {
            TerminationKind.DiskLimit => Termination.Limit(limit, message, signal: Signal.SIGKILL),
            TerminationKind.SandboxDied => Termination.SandboxDied(),
            TerminationKind.NotStarted => Termination.NotStarted(
                Errno.ETIMEDOUT, $"the command '{plan.Arguments[0]}' did not start within {CommandWatch.Patience.TotalSeconds:0} s"),
            _ => Termination.Limit(limit, message),
        };
    }

    private static string DescribeDisk(OpenPlan sandbox) => $"all changed files have {ByteSize.Format(sandbox.Limits.DiskBytes!.Value)} together";
}
