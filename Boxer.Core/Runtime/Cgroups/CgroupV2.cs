using System.Globalization;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime.Cgroups;

/// <summary>Cgroup in the v2 hierarchy (kernel documentation admin-guide/cgroup-v2).</summary>
internal sealed class CgroupV2 : Cgroup
{
    private const string FreezeFile = "cgroup.freeze";
    private readonly string _directory;

    internal CgroupV2(string directory, TimeProvider time)
        : base([directory], directory, time)
    {
        _directory = directory;
    }

    internal override void Apply(CgroupLimits limits)
    {
        // If the out-of-memory killer kills one process of the sandbox, it must kill all of them.
        Write(_directory, "memory.oom.group", "1");
        if (File.Exists(Path.Join(_directory, "memory.swap.max")))
        {
            Write(_directory, "memory.swap.max", "0");
        }

        Write(_directory, "memory.max", limits.MemoryBytes.ToString(CultureInfo.InvariantCulture));
        SetPids(limits.HostPids);
        SetCpu(limits.CpuCores);
    }

    internal override void SetCpu(double cores) =>
        Write(_directory, "cpu.max", string.Create(CultureInfo.InvariantCulture, $"{CgroupV1.Quota(cores, PeriodMicroseconds)} {PeriodMicroseconds}"));

    internal override void SetCpuWeight(int weight) => Write(_directory, "cpu.weight", weight.ToString(CultureInfo.InvariantCulture));

    // "oom" counts only events for the limit of this cgroup, not for a limit above it.
    internal override OutOfMemory ReadOutOfMemory() =>
        (ReadKey(_directory, "memory.events", "oom_kill"u8) ?? 0) == 0 ? OutOfMemory.None
        : (ReadKey(_directory, "memory.events", "oom"u8) ?? 0) == 0 ? OutOfMemory.Host
        : OutOfMemory.OwnLimit;

    internal override TimeSpan? ReadCpu() => ReadKey(_directory, "cpu.stat", "usage_usec"u8) is { } microseconds ? TimeSpan.FromMicroseconds(microseconds) : null;

    internal override long? ReadMemory() => ReadSum(_directory, "memory.stat", "anon"u8, "shmem"u8);

    internal override long? ReadPeakCharge() => ReadNumber(_directory, "memory.peak");

    // The kernel reports a change of this file since the last read of the same descriptor as an exceptional condition.
    internal override (SafeFileHandle Descriptor, uint Events) OpenOutOfMemoryEvents()
    {
        SafeFileHandle file = File.OpenHandle(Path.Join(_directory, "memory.events"));
        try
        {
            AcknowledgeOutOfMemory(file);
            return (file, SysEpoll.EPOLLPRI);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    internal override void AcknowledgeOutOfMemory(SafeFileHandle descriptor)
    {
        Span<byte> content = stackalloc byte[512];
        RandomAccess.Read(descriptor, content, 0);
    }

    /// <summary>Whether a cgroup can be frozen: since Linux 5.2.</summary>
    /// <param name="directory">Directory of the cgroup.</param>
    internal static bool HasFreezer(string directory) => File.Exists(Path.Join(directory, FreezeFile));

    internal override bool CanFreeze => HasFreezer(_directory);

    // The kernel stops the processes one by one, after the write has returned, and those that appear too.
    internal override void Freeze()
    {
        if (CanFreeze)
        {
            Write(_directory, FreezeFile, "1");
        }
    }

    internal override bool TryFreeze()
    {
        Write(_directory, FreezeFile, "1");
        return ReadKey(_directory, "cgroup.events", "frozen"u8) == 1;
    }

    internal override void Thaw()
    {
        if (CanFreeze)
        {
            Write(_directory, FreezeFile, "0");
        }
    }

    internal override bool Kill()
    {
        string file = Path.Join(_directory, "cgroup.kill");
        if (File.Exists(file))
        {
            Write(_directory, "cgroup.kill", "1");
            return ReadProcesses(Path.Join(_directory, "cgroup.procs")).Count > 0;
        }

        return base.Kill();
    }
}
