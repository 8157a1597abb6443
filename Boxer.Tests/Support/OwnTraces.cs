using System.Globalization;
using System.Text.Json;

namespace Boxer.Tests.Support;

/// <summary>Finds the traces of the runners in this process on this host. Runners of other processes are ignored.</summary>
internal static class OwnTraces
{
    /// <summary>Lists the live instances, whose locks this process has open.</summary>
    public static string[] Instances() =>
    [
        .. Directory.GetFiles("/proc/self/fd").Select(path => new FileInfo(path).LinkTarget)
            .Where(target => target?.StartsWith("/run/boxer/", StringComparison.Ordinal) == true && target.EndsWith(".lock", StringComparison.Ordinal))
            .Select(target => Path.GetFileNameWithoutExtension(target)!).Where(id => id.Length == 8),
    ];

    /// <summary>Finds leftovers of instances.</summary>
    public static async Task<string[]> FindAsync(IReadOnlyCollection<string> instances)
    {
        string[] all =
        [
            .. Directory.GetFileSystemEntries("/run/boxer"),
            .. (await File.ReadAllLinesAsync("/proc/mounts", TestContext.Current.CancellationToken)).Where(line => line.Contains("/run/boxer/", StringComparison.Ordinal)),
            .. Directory.GetFileSystemEntries("/sys/class/net"),
            .. Directory.Exists("/run/netns") ? Directory.GetFileSystemEntries("/run/netns") : [],
            .. Directory.GetDirectories("/sys/fs/cgroup", "boxer-*", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 4, IgnoreInaccessible = true }),
            .. ProcessList.Read().Select(process => process.CommandLine).Where(line => line.Contains("--root=/run/boxer/", StringComparison.Ordinal)),
        ];
        return [.. all.Where(line => instances.Any(id => line.Contains(id, StringComparison.Ordinal)))];
    }

    /// <summary>Reads the specs of all sandboxes in /run/boxer, which are those of this process and its children where the tests are isolated.</summary>
    public static List<JsonElement> ReadSpecs()
    {
        List<JsonElement> specs = [];
        foreach (string path in Directory.EnumerateFiles("/run/boxer", "config.json", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 4 }))
        {
            try
            {
                using JsonDocument spec = JsonDocument.Parse(File.ReadAllText(path));
                specs.Add(spec.RootElement.Clone());
            }
            catch (Exception exception) when (exception is IOException or JsonException)
            {
                // The sandbox was removed meanwhile, or its spec is being written for a boot.
            }
        }

        return specs;
    }

    /// <summary>Lists the directories of the running sandboxes of this process.</summary>
    public static string[] Sandboxes() =>
    [
        .. ProcessList.Read().Where(process => ParentOf(process.Id) == Environment.ProcessId).Select(process => RootOf(process.CommandLine)).OfType<string>(),
    ];

    /// <summary>Finds a process of a sandbox: <c>runsc</c> itself, <c>runsc-sandbox</c> or <c>runsc-gofer</c>.</summary>
    public static int? FindProcess(string sandbox, string kind)
    {
        foreach ((int id, string commandLine) in ProcessList.Read())
        {
            if (RootOf(commandLine) == sandbox && Path.GetFileName(commandLine.Split('\0')[0]) == kind)
            {
                return id;
            }
        }

        return null;
    }

    private static string? RootOf(string commandLine) =>
        commandLine.Split('\0').FirstOrDefault(argument => argument.StartsWith("--root=/run/boxer/", StringComparison.Ordinal));

    private static int? ParentOf(int process)
    {
        try
        {
            string status = File.ReadAllText($"/proc/{process}/stat");
            return int.Parse(status[(status.LastIndexOf(')') + 2)..].Split(' ')[1], CultureInfo.InvariantCulture);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
