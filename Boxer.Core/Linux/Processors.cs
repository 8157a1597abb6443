using System.Globalization;

namespace Boxer.Linux;

/// <summary>Processors that this process may use by its affinity. The programs that it starts inherit the affinity.</summary>
internal static class Processors
{
    private const string Key = "Cpus_allowed_list:";
    private static readonly Lazy<int> Allowed = new(() => Read(File.ReadAllLines("/proc/self/status")));

    /// <summary>Number of processors. <see cref="Environment.ProcessorCount"/> is lower if the cgroup of this process limits its time.</summary>
    internal static int Count => Allowed.Value;

    /// <summary>Reads the number from the lines of /proc/self/status (proc(5)), whose list has a form such as <c>0-3,6</c>.</summary>
    internal static int Read(IEnumerable<string> status)
    {
        string? list = status.FirstOrDefault(line => line.StartsWith(Key, StringComparison.Ordinal))?[Key.Length..].Trim();
        return string.IsNullOrEmpty(list) ? Environment.ProcessorCount : list.Split(',').Sum(range =>
        {
            int[] ends = [.. range.Split('-').Select(end => int.Parse(end, CultureInfo.InvariantCulture))];
            return ends[^1] - ends[0] + 1;
        });
    }
}
