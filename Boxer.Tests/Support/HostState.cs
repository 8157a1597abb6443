using System.Collections.Concurrent;
using System.Text.RegularExpressions;
using Boxer.Linux;

namespace Boxer.Tests.Support;

/// <summary>
/// Reads the traces of Boxer in this process's view of the machine: the instances in its /run/boxer with their mounts, cgroups and processes, and the
/// network of its namespace. A test process started by scripts/isolate.sh sees only its own traces.
/// </summary>
internal static partial class HostState
{
    private const string Base = "/run/boxer";

    // The first run with the mode sandbox creates the directory of its locks, and nothing removes it.
    private const string KeptForTheMachine = Base + "/network";

    // Namespaces do not separate cgroups, so the id of the instance tells which belong to this process.
    private static readonly ConcurrentDictionary<string, bool> Instances = new(StringComparer.Ordinal);
    private static readonly FileSystemWatcher Watcher = Watch();
    private static volatile Exception? _watcherFault;

    /// <summary>Reads all traces, to compare them with those before.</summary>
    public static async Task<string[]> ReadAsync() =>
    [
        .. List(Base).Where(path => path != KeptForTheMachine),
        .. (await File.ReadAllLinesAsync("/proc/mounts", TestContext.Current.CancellationToken)).Where(line => line.Contains("boxer", StringComparison.Ordinal) && !line.Contains("/tmp/boxer-", StringComparison.Ordinal)),
        .. Cgroups(),
        .. Processes().Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal),
        await HostProgram.RunAsync("nft", "list", "ruleset"),
        await File.ReadAllTextAsync("/proc/sys/net/ipv4/ip_forward", TestContext.Current.CancellationToken),
        .. Forwarding(),
        .. List("/sys/class/net"),
        .. List("/run/netns"),
    ];

    /// <summary>Asserts that no trace has changed, and lists those that are new or gone.</summary>
    public static async Task AssertSameAsync(string[] before, string context = "")
    {
        string[] after = await ReadAsync();
        Assert.True(
            before.SequenceEqual(after, StringComparer.Ordinal),
            $"{context} The traces on this host changed.\nNew:\n{Difference(after, before)}\nGone:\n{Difference(before, after)}");
    }

    /// <summary>Counts the sandboxes that run.</summary>
    public static Task<int> CountSandboxesAsync() => Task.FromResult(SandboxProcesses().Count());

    /// <summary>Lists the network namespaces of sandboxes.</summary>
    public static string[] Namespaces() => Directory.Exists("/run/netns")
        ? [.. Directory.GetFiles("/run/netns", "bx*").Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal)]
        : [];

    /// <summary>Lists the namespaces in which a sandbox runs.</summary>
    public static Task<string[]> RunningNamespacesAsync() => Task.FromResult(NamespacesOf(_ => true));

    /// <summary>Lists the namespaces whose sandbox is frozen.</summary>
    public static Task<string[]> FrozenNamespacesAsync() => Task.FromResult(NamespacesOf(IsFrozen));

    private static string Difference(string[] some, string[] others) => string.Join('\n', Lines(some).Except(Lines(others), StringComparer.Ordinal));

    private static IEnumerable<string> Lines(string[] traces) => traces.SelectMany(trace => trace.Split('\n'));

    private static string[] NamespacesOf(Func<int, bool> isWanted)
    {
        FileIdentity?[] wanted = [.. SandboxProcesses().Where(isWanted).Select(process => FileIdentity.Of($"/proc/{process}/ns/net"))];
        return [.. Namespaces().Where(name => FileIdentity.Of($"/run/netns/{name}") is { } identity && wanted.Contains(identity))];
    }

    // Reads the freezer of cgroup v1, or the state of the cgroup v2.
    private static bool IsFrozen(int process)
    {
        try
        {
            string[] cgroups = File.ReadAllLines($"/proc/{process}/cgroup");
            return cgroups.FirstOrDefault(line => line.Contains(":freezer:", StringComparison.Ordinal)) is { } v1
                ? File.ReadAllText($"/sys/fs/cgroup/freezer{v1.Split(':')[2]}/freezer.state").Trim() == "FROZEN"
                : cgroups.FirstOrDefault(line => line.StartsWith("0::", StringComparison.Ordinal)) is { } v2
                    && File.ReadAllText($"/sys/fs/cgroup{v2[3..]}/cgroup.freeze").Trim() == "1";
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // The process ended meanwhile.
            return false;
        }
    }

    // IPv6 settings of this host, if the kernel has them: whether it routes, and whether it accepts routes.
    private static IEnumerable<string> Forwarding() => !Directory.Exists("/proc/sys/net/ipv6/conf") ? [] :
        Directory.GetDirectories("/proc/sys/net/ipv6/conf").Order(StringComparer.Ordinal)
            .SelectMany(path => (string[])["forwarding", "accept_ra"], (path, name) => $"{path}/{name} {File.ReadAllText(Path.Join(path, name)).Trim()}");

    private static IEnumerable<string> List(string directory) =>
        Directory.Exists(directory) ? Directory.GetFileSystemEntries(directory).Order(StringComparer.Ordinal) : Array.Empty<string>();

    // A cgroup whose name is not that of an instance belongs to no other test process either.
    private static IEnumerable<string> Cgroups()
    {
        RememberInstances();
        return new DirectoryInfo("/sys/fs/cgroup").EnumerateDirectories("boxer-*", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 4, AttributesToSkip = FileAttributes.ReparsePoint, IgnoreInaccessible = true })
            .Where(directory => !InstanceCgroup().IsMatch(directory.Name) || IsKnown(directory.Name["boxer-".Length..])).Select(directory => directory.FullName).Order(StringComparer.Ordinal);
    }

    [GeneratedRegex("^boxer-[0-9a-f]{8}$", RegexOptions.None, 1000)]
    private static partial Regex InstanceCgroup();

    // Leaves out the arguments that differ from start to start.
    private static IEnumerable<string> Processes() => RuntimeProcesses().Select(process => $"{process.Program} {process.Root}");

    private static IEnumerable<int> SandboxProcesses() => RuntimeProcesses().Where(process => process.Program == "runsc-sandbox").Select(process => process.Id);

    // Reads the instances too: the watcher may be late. A watcher that failed would hide traces.
    private static void RememberInstances()
    {
        if (_watcherFault is { } fault)
        {
            throw new InvalidOperationException("The instances of this host are not watched any more.", fault);
        }

        foreach (string path in Directory.GetDirectories(Base))
        {
            Instances.TryAdd(Path.GetFileName(path), true);
        }
    }

    // Other tests may start runsc themselves. Those processes have another root.
    private static IEnumerable<(int Id, string Program, string Root)> RuntimeProcesses()
    {
        RememberInstances();
        const string Root = $"--root={Base}/";
        foreach ((int id, string commandLine) in ProcessList.Read())
        {
            string[] arguments = commandLine.Split('\0');
            if (arguments.FirstOrDefault(argument => argument.StartsWith(Root, StringComparison.Ordinal)) is { } root && IsKnown(root[Root.Length..].Split('/')[0]))
            {
                yield return (id, arguments[0], root);
            }
        }
    }

    private static bool IsKnown(string instance) => Instances.ContainsKey(instance);

    // Remembers every instance that ever existed: its directory may be gone while its cgroup is still there.
    private static FileSystemWatcher Watch()
    {
        PrivateDirectory.Ensure(Base);
        var watcher = new FileSystemWatcher(Base) { NotifyFilter = NotifyFilters.DirectoryName };
        watcher.Created += (_, made) => Instances.TryAdd(Path.GetFileName(made.FullPath), true);
        watcher.Error += (_, fault) => _watcherFault = fault.GetException();
        watcher.EnableRaisingEvents = true;
        return watcher;
    }
}
