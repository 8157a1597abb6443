using System.Globalization;

namespace Boxer.Runtime.Cgroups;

/// <summary>Memory that all sandboxes of this process can have together.</summary>
internal static class MachineMemory
{
    /// <summary>Reads the memory of the machine (proc(5), meminfo) in bytes, or the limit of this process's cgroup if that is lower.</summary>
    internal static long ReadBytes()
    {
        string line = File.ReadLines("/proc/meminfo").First(line => line.StartsWith("MemTotal:", StringComparison.Ordinal));
        long machine = long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) << 10;
        return Math.Min(machine, CgroupMounts.Read().ReadMemoryLimit() ?? long.MaxValue);
    }
}
