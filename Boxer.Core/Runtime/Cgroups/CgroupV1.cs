using System.Globalization;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime.Cgroups;

/// <summary>A cgroup in the v1 hierarchies (cgroups(7); kernel documentation admin-guide/cgroup-v1).</summary>
internal sealed class CgroupV1 : Cgroup
{
    private const int PeriodMicroseconds = 100_000;
    private const int LeastQuotaMicroseconds = 1_000;
    private readonly string _cpu;
    private readonly string? _cpuAccounting;
    private readonly string _memory;
    private readonly string _pids;

    internal CgroupV1(IReadOnlyDictionary<string, string> directories, TimeProvider time)
        : base([.. directories.Values.Distinct(StringComparer.Ordinal)], time)
    {
        _cpu = directories["cpu"];
        _memory = directories["memory"];
        _pids = directories["pids"];
        _cpuAccounting = directories.GetValueOrDefault("cpuacct");
    }

    internal override void Apply(CgroupLimits limits)
    {
        string memory = limits.MemoryBytes.ToString(CultureInfo.InvariantCulture);
        try
        {
            Write(_memory, "memory.limit_in_bytes", memory);
        }
        catch (IOException exception)
        {
            throw new InvalidSandboxRequestException(
                "Limits.MemoryMegabytes",
                $"the sandbox needs more than {limits.MemoryBytes >> 20} MiB before the command starts ({exception.Message}); raise the limit.");
        }

        // Only where the kernel accounts for swap.
        if (File.Exists(Path.Join(_memory, "memory.memsw.limit_in_bytes")))
        {
            Write(_memory, "memory.memsw.limit_in_bytes", memory);
        }

        Write(_pids, "pids.max", limits.HostPids.ToString(CultureInfo.InvariantCulture));
        Write(_cpu, "cpu.cfs_period_us", PeriodMicroseconds.ToString(CultureInfo.InvariantCulture));
        Write(_cpu, "cpu.cfs_quota_us", Quota(limits.CpuCores, PeriodMicroseconds).ToString(CultureInfo.InvariantCulture));
    }

    internal override long ReadOutOfMemoryKills() => ReadKey(_memory, "memory.oom_control", "oom_kill") ?? 0;

    internal override CgroupUsage ReadUsage() => new(
        _cpuAccounting is not null && ReadNumber(_cpuAccounting, "cpuacct.usage") is { } nanoseconds ? TimeSpan.FromTicks(nanoseconds / 100) : null,
        ReadNumber(_memory, "memory.max_usage_in_bytes"));

    internal override (SafeFileHandle Descriptor, uint Events, bool EachIsAKill) OpenOutOfMemoryWatch()
    {
        var notification = new SafeFileHandle(Check.Result(SysEventfd.eventfd(0, SysEventfd.EFD_CLOEXEC | SysEventfd.EFD_NONBLOCK), "eventfd"), ownsHandle: true);
        try
        {
            using SafeFileHandle control = File.OpenHandle(Path.Join(_memory, "memory.oom_control"));
            Write(_memory, "cgroup.event_control", $"{notification.DangerousGetHandle()} {control.DangerousGetHandle()}");
            // A notification comes before the kill that it is about: the counter may still be unchanged.
            return (notification, SysEpoll.EPOLLIN, EachIsAKill: true);
        }
        catch
        {
            notification.Dispose();
            throw;
        }
    }

    internal static long Quota(double cores, int period) => Math.Max(LeastQuotaMicroseconds, (long)Math.Round(cores * period));
}
