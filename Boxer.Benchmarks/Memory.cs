using System.Globalization;

namespace Boxer.Benchmarks;

/// <summary>Memory that a process and this machine have, in MB.</summary>
internal static class Memory
{
    /// <summary>What a process has in memory now.</summary>
    internal static double Resident(int process) => Read($"/proc/{process}/status", "VmRSS:");

    /// <summary>The most that it had.</summary>
    internal static double Peak(int process) => Read($"/proc/{process}/status", "VmHWM:");

    /// <summary>What programs of this machine could still take.</summary>
    internal static double Available() => Read("/proc/meminfo", "MemAvailable:");

    /// <summary>All of this machine.</summary>
    internal static double Machine() => Read("/proc/meminfo", "MemTotal:");

    /// <summary>What this process has now, in words.</summary>
    internal static string Describe() =>
        $"{Resident(Environment.ProcessId):0} MB resident, of which {GC.GetTotalMemory(forceFullCollection: false) / 1e6:0} MB are objects";

    private static double Read(string file, string name) => 1024e-6 * long.Parse(
        File.ReadLines(file).First(line => line.StartsWith(name, StringComparison.Ordinal)).Split((char[])[' ', '\t'], StringSplitOptions.RemoveEmptyEntries)[1],
        CultureInfo.InvariantCulture);
}
