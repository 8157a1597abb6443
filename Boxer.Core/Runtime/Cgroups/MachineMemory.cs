using System.Globalization;

namespace Boxer.Runtime.Cgroups;

/// <summary>The memory that this process's sandboxes can have at all.</summary>
internal static class MachineMemory
{
    /// <summary>In bytes: the machine's memory (proc(5), meminfo), or the limit of this process's own cgroup where that is less.</summary>
    internal static long ReadBytes()
    {
        string line = File.ReadLines("/proc/meminfo").First(line => line.StartsWith("MemTotal:", StringComparison.Ordinal));
        long machine = long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) << 10;
        return Math.Min(machine, CgroupMounts.Read().ReadMemoryLimit() ?? long.MaxValue);
    }
}
