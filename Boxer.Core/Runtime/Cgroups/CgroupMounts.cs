using System.Globalization;
using Boxer.Linux;

namespace Boxer.Runtime.Cgroups;

/// <summary>Where the cgroup controllers are on this host, for this process (cgroups(7), proc(5)).</summary>
internal sealed class CgroupMounts
{
    private readonly Dictionary<string, (string MountPoint, string OwnDirectory)> _v1 = new(StringComparer.Ordinal);

    private readonly string? _ownUnified;

    private CgroupMounts(string? unified, string? ownUnified)
    {
        Unified = unified;
        _ownUnified = ownUnified;
    }

    /// <summary>The mount point of a cgroup v2 hierarchy, or <see langword="null"/>.</summary>
    internal string? Unified { get; }

    /// <summary>Reads this process's view.</summary>
    internal static CgroupMounts Read() =>
        Parse(File.ReadAllLines("/proc/self/mountinfo"), File.ReadAllLines("/proc/self/cgroup"));

    /// <summary>Parses /proc/self/mountinfo and /proc/self/cgroup.</summary>
    internal static CgroupMounts Parse(IEnumerable<string> mountInfo, IEnumerable<string> ownCgroups)
    {
        var ownPaths = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (string line in ownCgroups)
        {
            string[] fields = line.Split(':', 3);
            if (fields.Length == 3)
            {
                // The unified hierarchy has no controllers in its line.
                foreach (string controller in fields[1].Split(','))
                {
                    ownPaths[controller] = fields[2];
                }
            }
        }

        string? unified = null;
        string unifiedRoot = "/";
        var v1 = new List<(string MountPoint, string MountRoot, string[] Controllers)>();
        foreach (string line in mountInfo)
        {
            int separator = line.IndexOf(" - ", StringComparison.Ordinal);
            if (separator < 0)
            {
                continue;
            }

            string[] left = line[..separator].Split(' ');
            string[] right = line[(separator + 3)..].Split(' ');
            if (left.Length < 5 || right.Length < 3)
            {
                continue;
            }

            string mountPoint = MountTable.Unescape(left[4]);
            if (right[0] == "cgroup2")
            {
                unifiedRoot = unified is null ? MountTable.Unescape(left[3]) : unifiedRoot;
                unified ??= mountPoint;
            }
            else if (right[0] == "cgroup")
            {
                v1.Add((mountPoint, MountTable.Unescape(left[3]), right[2].Split(',')));
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

    /// <summary>The v1 directory of this process's own cgroup for a controller, or <see langword="null"/> where it is not mounted.</summary>
    internal string? OwnDirectory(string controller) => _v1.TryGetValue(controller, out (string, string Own) found) ? found.Own : null;

    /// <summary>The v1 mount point of a controller, or <see langword="null"/> where it is not mounted.</summary>
    internal string? MountPoint(string controller) => _v1.TryGetValue(controller, out (string MountPoint, string) found) ? found.MountPoint : null;

    /// <summary>The least memory limit of this process's own cgroup and those above it, in bytes; <see langword="null"/> for none.</summary>
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

    internal static string Join(string directory, string relative) => Path.Join(directory, relative.Trim('/')).TrimEnd('/');

    // Inside a container the mount may show only a part of the hierarchy, and the path then starts at that part.
    private static string RelativeTo(string mountRoot, string path) =>
        mountRoot != "/" && (path == mountRoot || path.StartsWith(mountRoot + "/", StringComparison.Ordinal)) ? path[mountRoot.Length..] : path;
}
