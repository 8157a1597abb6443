using System.Globalization;

namespace Boxer.HttpHost;

/// <summary>RLIMIT_NOFILE of this process. The .NET runtime raises its soft limit to the hard one, and ends a process that has none left.</summary>
internal static class DescriptorLimit
{
    /// <summary>What sandboxes, images and files have: some 15 for each sandbox, and 250 for the runtime itself, which keeps two for each assembly.</summary>
    internal const int KeptForWork = 768;

    /// <summary>The least that the host starts with.</summary>
    internal const int Least = 1_024;

    /// <summary>How many this process can have open (proc_pid_limits(5)).</summary>
    internal static long Read()
    {
        const string Line = "Max open files";
        string? limit = File.ReadLines("/proc/self/limits").FirstOrDefault(line => line.StartsWith(Line, StringComparison.Ordinal));
        return long.TryParse(limit?[Line.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries)[0], CultureInfo.InvariantCulture, out long most) ? most : long.MaxValue;
    }
}
