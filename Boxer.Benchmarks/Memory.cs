using System.Globalization;

namespace Boxer.Benchmarks;

/// <summary>Memory of processes and of this machine, in MB.</summary>
internal static class Memory
{
    /// <summary>Resident memory of a process.</summary>
    internal static double Resident(int process) => Read($"/proc/{process}/status", "VmRSS:");

    /// <summary>Maximum resident memory of a process so far.</summary>
    internal static double Peak(int process) => Read($"/proc/{process}/status", "VmHWM:");

    /// <summary>Available memory of this machine.</summary>
    internal static double Available() => Read("/proc/meminfo", "MemAvailable:");

    /// <summary>Total memory of this machine.</summary>
    internal static double Machine() => Read("/proc/meminfo", "MemTotal:");

    /// <summary>Describes the memory of this process.</summary>
    internal static string Describe() =>
        $"{Resident(Environment.ProcessId):0} MB resident, {GC.GetTotalMemory(forceFullCollection: false) / 1e6:0} MB of it objects";

    private static double Read(string file, string name) => 1024e-6 * long.Parse(
        File.ReadLines(file).First(line => line.StartsWith(name, StringComparison.Ordinal)).Split((char[])[' ', '\t'], StringSplitOptions.RemoveEmptyEntries)[1],
        CultureInfo.InvariantCulture);
}
