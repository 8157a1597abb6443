using System.Globalization;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime.Cgroups;

/// <summary>Cgroup in the v1 hierarchies (cgroups(7); kernel documentation admin-guide/cgroup-v1).</summary>
internal sealed class CgroupV1 : Cgroup
{
    private const int LeastQuotaMicroseconds = 1_000;
    private const string StateFile = "freezer.state";
    private const int FreezeAttempts = 500;
    private const string MemoryFile = "memory.limit_in_bytes";
    private const string MemoryAndSwapFile = "memory.memsw.limit_in_bytes";

    // The kernel charges memory in batches, so the recorded peak can be below the limit by a few batches.
    private const int ChargedAhead = 2 << 20;

    private readonly string _cpu;
    private readonly string? _cpuAccounting;
    private readonly string _memory;
    private readonly string? _freezer;

    internal CgroupV1(IReadOnlyDictionary<string, string> directories, TimeProvider time)
        : base([.. directories.Values.Distinct(StringComparer.Ordinal)], directories["pids"], time)
    {
        _cpu = directories["cpu"];
        _memory = directories["memory"];
        _cpuAccounting = directories.GetValueOrDefault("cpuacct");
        _freezer = directories.GetValueOrDefault(Freezer);
    }

    /// <summary>Name of the freezer controller, which not every host has.</summary>
    internal const string Freezer = "freezer";

    internal override void Apply(CgroupLimits limits)
    {
        SetMemory(limits.MemoryBytes);
        SetPids(limits.HostPids);
        Write(_cpu, "cpu.cfs_period_us", PeriodMicroseconds.ToString(CultureInfo.InvariantCulture));
        SetCpu(limits.CpuCores);
    }

    // The kernel rejects (EINVAL) a memory limit above the limit of memory and swap. A sandbox of the pool has limits already, so the order matters.
    private void SetMemory(long bytes)
    {
        bool countsSwap = File.Exists(Path.Join(_memory, MemoryAndSwapFile));
        bool raises = countsSwap && ReadNumber(_memory, MemoryAndSwapFile) < bytes;
        try
        {
            foreach (string file in !countsSwap ? [MemoryFile] : raises ? (string[])[MemoryAndSwapFile, MemoryFile] : [MemoryFile, MemoryAndSwapFile])
            {
                Write(_memory, file, bytes.ToString(CultureInfo.InvariantCulture));
            }
        }
        catch (IOException exception) when (exception.HResult == Errno.EBUSY)
        {
            throw new InvalidSandboxRequestException(
                "Limits.MemoryBytes",
                $"the sandbox needs more than {ByteSize.Format(bytes)} before the command starts; raise the limit.",
                exception.Message,
                exception);
        }

        if (!countsSwap && File.Exists(Path.Join(_memory, "memory.swappiness")))
        {
            // The kernel does not count swap. With swappiness 0 it does not swap out the sandbox's memory past the limit.
            Write(_memory, "memory.swappiness", "0");
        }
    }

    // Returns the lowest quota of the visible cgroups above, converted to Boxer's period; null if none has a quota.
    private long? LeastQuotaAbove()
    {
        long? least = null;
        for (string? above = Path.GetDirectoryName(_cpu); above is not null && File.Exists(Path.Join(above, "cpu.cfs_quota_us")); above = Path.GetDirectoryName(above))
        {
            if (ReadNumber(above, "cpu.cfs_quota_us") is > 0 and { } quota && ReadNumber(above, "cpu.cfs_period_us") is > 0 and { } period)
            {
                least = Math.Min(least ?? long.MaxValue, quota * PeriodMicroseconds / period);
            }
        }

        return least;
    }

    internal override void SetCpu(double cores)
    {
        long quota = Quota(cores, PeriodMicroseconds);
        try
        {
            WriteQuota(quota);
        }
        catch (IOException exception) when (exception.HResult == Errno.EINVAL && LeastQuotaAbove() is { } most && most < quota)
        {
            // In v1 the kernel rejects a quota above that of a parent. In v2 it accepts it; the parent's quota limits the cgroup in both cases.
            WriteQuota(most);
        }

        void WriteQuota(long value) => Write(_cpu, "cpu.cfs_quota_us", value.ToString(CultureInfo.InvariantCulture));
    }

    // 1024 shares are equivalent to a weight of 100 in v2.
    internal override void SetCpuWeight(int weight) => Write(_cpu, "cpu.shares", (weight * 1024 / 100).ToString(CultureInfo.InvariantCulture));

    // Compares the peak with the limit, because newer kernels do not count failed charges.
    internal override OutOfMemory ReadOutOfMemory() =>
        (ReadKey(_memory, "memory.oom_control", "oom_kill"u8) ?? 0) == 0 ? OutOfMemory.None
        : ReadNumber(_memory, "memory.max_usage_in_bytes") + ChargedAhead < ReadNumber(_memory, MemoryFile) ? OutOfMemory.Host
        : OutOfMemory.OwnLimit;

    internal override TimeSpan? ReadCpu() =>
        _cpuAccounting is not null && ReadNumber(_cpuAccounting, "cpuacct.usage") is { } nanoseconds ? TimeSpan.FromTicks(nanoseconds / 100) : null;

    internal override long? ReadMemory() => ReadSum(_memory, "memory.stat", "total_rss"u8, "total_shmem"u8);

    internal override long? ReadPeakCharge() => ReadNumber(_memory, "memory.max_usage_in_bytes");

    internal override (SafeFileHandle Descriptor, uint Events) OpenOutOfMemoryEvents()
    {
        var notification = new SafeFileHandle(Check.Result(SysEventfd.eventfd(0, SysEventfd.EFD_CLOEXEC | SysEventfd.EFD_NONBLOCK), "eventfd"), ownsHandle: true);
        try
        {
            using SafeFileHandle control = File.OpenHandle(Path.Join(_memory, "memory.oom_control"));
            Write(_memory, "cgroup.event_control", $"{notification.DangerousGetHandle()} {control.DangerousGetHandle()}");
            return (notification, SysEpoll.EPOLLIN);
        }
        catch
        {
            notification.Dispose();
            throw;
        }
    }

    internal override void AcknowledgeOutOfMemory(SafeFileHandle descriptor) => _ = Unistd.Read(descriptor, stackalloc byte[sizeof(ulong)]);

    internal override bool CanFreeze => _freezer is not null;

    internal override void Freeze()
    {
        if (_freezer is null)
        {
            return;
        }

        SpinWait wait = default;
        for (int attempt = 0; attempt < FreezeAttempts; attempt++)
        {
            if (TryFreeze())
            {
                return;
            }

            // Sleeps for 1 ms after the first attempts.
            wait.SpinOnce();
        }

        Thaw();
        throw new IOException("The cgroup did not freeze: tasks kept appearing in it.");
    }

    // A cgroup in which tasks appear meanwhile stays half frozen (FREEZING), and most of its tasks run on, until it is told again.
    internal override bool TryFreeze()
    {
        Write(_freezer!, StateFile, "FROZEN");
        return File.ReadAllBytes(Path.Join(_freezer, StateFile)).AsSpan().StartsWith("FROZEN"u8);
    }

    internal override void Thaw() => Thaw(_freezer);

    // A frozen process dies only when it is thawed.
    internal override bool Kill()
    {
        bool found = base.Kill();
        Thaw();
        return found;
    }

    /// <summary>Thaws the processes in a directory, if it belongs to the freezer.</summary>
    /// <param name="directory">Directory of a cgroup, or <see langword="null"/>.</param>
    internal static void Thaw(string? directory)
    {
        if (directory is not null && File.Exists(Path.Join(directory, StateFile)))
        {
            Write(directory, StateFile, "THAWED");
        }
    }

    /// <summary>Converts cores to microseconds of processor time in a period; at least 1,000, the kernel's minimum.</summary>
    internal static long Quota(double cores, int period) => Math.Max(LeastQuotaMicroseconds, (long)Math.Round(cores * period));
}
