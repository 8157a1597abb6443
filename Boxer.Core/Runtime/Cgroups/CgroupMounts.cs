using System.Globalization;
using Boxer.Linux;

namespace Boxer.Runtime.Cgroups;

/// <summary>Mount points of cgroup controllers on this host, and the cgroups of this process (cgroups(7), proc(5)).</summary>
internal sealed class CgroupMounts
{
    private readonly Dictionary<string, (string MountPoint, string OwnDirectory)> _v1 = new(StringComparer.Ordinal);

    private readonly string? _ownUnified;

    private CgroupMounts(string? unified, string? ownUnified)
    {
        Unified = unified;
        _ownUnified = ownUnified;
    }

    /// <summary>Mount point of a cgroup v2 hierarchy, or <see langword="null"/>.</summary>
    internal string? Unified { get; }

    /// <summary>Reads the mounts and cgroups of this process.</summary>
    internal static CgroupMounts Read() =>
        Parse(File.ReadAllLines("/proc/self/mountinfo"), File.ReadAllLines("/proc/self/cgroup"));

    /// <summary>Parses /proc/self/mountinfo and /proc/self/cgroup.</summary>
    internal static CgroupMounts Parse(IEnumerable<string> mountInfo, IEnumerable<string> ownCgroups)
    {
        Dictionary<string, string> ownPaths = ParseOwnPaths(ownCgroups);
        string? unified = null;
        string unifiedRoot = "/";
        var v1 = new List<(string MountPoint, string MountRoot, string[] Controllers)>();
        foreach (string line in mountInfo)
        {
            if (line.Split(" - ", 2) is not [var left, var right]
                || left.Split(' ') is not [_, _, _, var root, var mountPoint, ..]
                || right.Split(' ') is not [var type, _, var options, ..])
            {
                continue;
            }

            if (type == "cgroup2" && unified is null)
            {
                (unified, unifiedRoot) = (MountTable.Unescape(mountPoint), MountTable.Unescape(root));
            }
            else if (type == "cgroup")
            {
                v1.Add((MountTable.Unescape(mountPoint), MountTable.Unescape(root), options.Split(',')));
            }
        }

        string? ownUnified = unified is not null && ownPaths.TryGetValue("", out string? path) ? Join(unified, RelativeTo(unifiedRoot, path)) : null;
        var mounts = new CgroupMounts(unified, ownUnified);
        foreach ((string mountPoint, string mountRoot, string[] controllers) in v1)
        {
            foreach (string controller in controllers.Where(ownPaths.ContainsKey))
            {
                mounts._v1.TryAdd(controller, (mountPoint, Join(mountPoint, RelativeTo(mountRoot, ownPaths[controller]))));
            }
        }

        return mounts;
    }

    /// <summary>Gets the directory of this process's cgroup for a v1 controller, or <see langword="null"/> if the controller is not mounted.</summary>
    internal string? OwnDirectory(string controller) => _v1.TryGetValue(controller, out (string, string Own) found) ? found.Own : null;

    /// <summary>Gets the mount point of a v1 controller, or <see langword="null"/> if the controller is not mounted.</summary>
    internal string? MountPoint(string controller) => _v1.TryGetValue(controller, out (string MountPoint, string) found) ? found.MountPoint : null;

    /// <summary>Reads the lowest memory limit of this process's cgroup and those above it, in bytes; <see langword="null"/> without a limit.</summary>
    internal long? ReadMemoryLimit()
    {
        (string? own, string? mountPoint, string file) = OwnDirectory("memory") is { } v1
            ? (v1, MountPoint("memory"), "memory.limit_in_bytes")
            : (_ownUnified, Unified, "memory.max");
        long? least = null;
        for (string? directory = own; mountPoint is not null && directory?.Length >= mountPoint.Length; directory = Path.GetDirectoryName(directory))
        {
            string path = Path.Join(directory, file);
            if (File.Exists(path) && long.TryParse(File.ReadAllText(path).AsSpan().Trim(), CultureInfo.InvariantCulture, out long limit))
            {
                least = Math.Min(limit, least ?? limit);
            }
        }

        return least;
    }

    /// <summary>Joins a mount point and a path in it that may begin and end with a slash.</summary>
    internal static string Join(string directory, string relative) => Path.Join(directory, relative.Trim('/')).TrimEnd('/');

    private static Dictionary<string, string> ParseOwnPaths(IEnumerable<string> ownCgroups)
    {
        var paths = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (string line in ownCgroups)
        {
            if (line.Split(':', 3) is [_, var controllers, var path])
            {
                // The line of the unified hierarchy has no controllers, so its key is empty.
                foreach (string controller in controllers.Split(','))
                {
                    paths[controller] = path;
                }
            }
        }

        return paths;
    }

    // In a container the mount can show only a part of the hierarchy. The path then starts at that part.
    private static string RelativeTo(string mountRoot, string path) =>
        mountRoot != "/" && (path == mountRoot || path.StartsWith(mountRoot + "/", StringComparison.Ordinal)) ? path[mountRoot.Length..] : path;
}
