using System.Globalization;

namespace Boxer.Tests.Support;

/// <summary>Reads the cgroups of the sandboxes that run in this process's view of the machine.</summary>
internal static class SandboxCgroups
{
    /// <summary>Whether every sandbox is frozen.</summary>
    internal static bool AreFrozen() =>
        Find("freezer.state", "cgroup.freeze") is { Count: > 0 } files && files.All(file => Read(file) is "FROZEN" or "1");

    /// <summary>Whether one sandbox is frozen.</summary>
    /// <param name="sandbox">An entry of <see cref="OwnTraces.Sandboxes"/>.</param>
    internal static bool IsFrozen(string sandbox) => FindFreezers(sandbox).Any(file => Read(file) is "FROZEN" or "1");

    /// <summary>Describes what one sandbox has left, for messages: whether it is frozen, and its processes with their states (proc_pid_stat(5)).</summary>
    /// <param name="sandbox">An entry of <see cref="OwnTraces.Sandboxes"/>.</param>
    internal static IEnumerable<string> Describe(string sandbox) => FindFreezers(sandbox).SelectMany(file =>
    {
        try
        {
            IEnumerable<string> processes = File.ReadAllLines(Path.Join(Path.GetDirectoryName(file), "cgroup.procs")).Select(process => $"/proc/{process}/stat").Where(File.Exists).Select(Read);
            return (string[])[$"{file}: {Read(file)}", .. processes.Select(stat => stat[..(stat.LastIndexOf(')') + 3)])];
        }
        catch (IOException exception)
        {
            // It has ended meanwhile.
            return [exception.Message];
        }
    });

    /// <summary>Processor time that all sandboxes together have used.</summary>
    internal static TimeSpan ProcessorTime() =>
        TimeSpan.FromMicroseconds(Find("cpuacct.usage", "cpu.stat").Sum(file => Path.GetFileName(file) == "cpu.stat"
            ? long.Parse(Read(file).Split('\n')[0].Split(' ')[1], CultureInfo.InvariantCulture)
            : long.Parse(Read(file), CultureInfo.InvariantCulture) / 1_000));

    /// <summary>Memory of each sandbox without page cache, in bytes.</summary>
    internal static long[] MemoryBytes() =>
    [
        .. Find("memory.stat", "memory.stat").Select(file => Read(file).Split('\n').Select(line => line.Split(' '))
            .Where(line => (file.Contains("/memory/", StringComparison.Ordinal) ? (string[])["total_rss", "total_shmem"] : ["anon", "shmem"]).Contains(line[0])).Sum(line => long.Parse(line[1], CultureInfo.InvariantCulture))),
    ];

    private static IEnumerable<string> FindFreezers(string sandbox)
    {
        string? name = Path.GetFileName(Path.GetDirectoryName(sandbox));
        return Find("freezer.state", "cgroup.freeze").Where(file => Path.GetFileName(Path.GetDirectoryName(file)) == name);
    }

    // The cgroup of a sandbox is named after its directory in /run/boxer. A hybrid machine has an empty second hierarchy.
    private static List<string> Find(string v1, string v2)
    {
        HashSet<string> sandboxes = [.. Directory.GetDirectories("/run/boxer", "*", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 2 }).Where(path => File.Exists(Path.Join(path, "config.json"))).Select(path => Path.GetFileName(path))];
        return
        [
            .. Directory.GetDirectories("/sys/fs/cgroup", "*", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 5, IgnoreInaccessible = true, AttributesToSkip = FileAttributes.ReparsePoint })
                .Where(directory => sandboxes.Contains(Path.GetFileName(directory)))
                .Select(directory => Path.Join(directory, File.Exists(Path.Join(directory, v1)) ? v1 : v2)).Where(File.Exists),
        ];
    }

    private static string Read(string file) => File.ReadAllText(file).Trim();
}
