namespace Boxer.Runtime.Cgroups;

/// <summary>
/// Cgroups of one instance: a directory <c>boxer-&lt;instance&gt;</c> with one cgroup for each sandbox in it. The process of the
/// application stays in its own cgroup.
/// </summary>
internal sealed class CgroupHierarchy : IAsyncDisposable
{
    private static readonly string[] RequiredControllers = ["cpu", "memory", "pids"];
    private readonly Dictionary<string, string>? _v1;
    private readonly string? _v2;
    private readonly TimeProvider _time;

    private CgroupHierarchy(Dictionary<string, string>? v1, string? v2, TimeProvider time)
    {
        _v1 = v1;
        _v2 = v2;
        _time = time;
    }

    /// <summary>Directories of the instance, one for each hierarchy. They need not exist yet.</summary>
    internal IReadOnlyList<string> Directories => _v2 is not null ? [_v2] : [.. _v1!.Values.Distinct(StringComparer.Ordinal)];

    /// <summary>Version of cgroups, for logs.</summary>
    internal string Description => _v2 is not null ? "cgroup v2" : "cgroup v1";

    /// <summary>Finds the place for the cgroups of an instance. Does not create directories.</summary>
    /// <param name="mounts">Mounted controllers of this host.</param>
    /// <param name="parent">Configured parent, relative to the mount point; <see langword="null"/> for the cgroup of this process.</param>
    /// <param name="instanceId">Id of the instance.</param>
    /// <param name="time">Clock of the pauses between attempts to remove a cgroup.</param>
    /// <exception cref="SandboxPrivilegeException">This host has no usable hierarchy. The message has a remedy.</exception>
    internal static CgroupHierarchy Locate(CgroupMounts mounts, string? parent, string instanceId, TimeProvider time)
    {
        string name = "boxer-" + instanceId;
        if (RequiredControllers.All(controller => mounts.OwnDirectory(controller) is not null))
        {
            Dictionary<string, string> directories = new(StringComparer.Ordinal);
            foreach (string controller in (string[])[.. RequiredControllers, "cpuacct", CgroupV1.Freezer])
            {
                string? above = parent is null
                    ? mounts.OwnDirectory(controller)
                    : mounts.MountPoint(controller) is { } mountPoint ? CgroupMounts.Join(mountPoint, parent) : null;
                if (above is not null)
                {
                    directories[controller] = Path.Join(above, name);
                }
            }

            return new CgroupHierarchy(directories, v2: null, time);
        }

        if (mounts.Unified is { } unified)
        {
            string above = CgroupMounts.Join(unified, parent ?? "");
            string controllers = Path.Join(above, "cgroup.controllers");
            string[] available = File.Exists(controllers) ? File.ReadAllText(controllers).Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries) : [];
            string[] missing = [.. RequiredControllers.Except(available, StringComparer.Ordinal)];
            return missing.Length == 0
                ? new CgroupHierarchy(v1: null, Path.Join(above, name), time)
                : throw new SandboxPrivilegeException(
                    $"The cgroup {above} lacks the controllers {string.Join(", ", missing)}: enable them there, name a delegated subtree in CgroupParent, or set IgnoreCgroups to run without cpu and memory limits.");
        }

        throw new SandboxPrivilegeException("No cgroup hierarchy with cpu, memory and pids is mounted: mount cgroup2, or set IgnoreCgroups to run without cpu and memory limits.");
    }

    /// <summary>Creates the directories of the instance.</summary>
    /// <exception cref="SandboxPrivilegeException">They cannot be created. The message has a remedy.</exception>
    internal void Create()
    {
        try
        {
            if (_v2 is not null)
            {
                EnableControllers(Path.GetDirectoryName(_v2)!);
                Directory.CreateDirectory(_v2);
                EnableControllers(_v2);
                return;
            }

            CreateFreezer();
            foreach (string directory in Directories)
            {
                Directory.CreateDirectory(directory);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new SandboxPrivilegeException(
                $"Cannot create cgroups: {exception.Message} Run as root, name a delegated subtree in CgroupParent, or set IgnoreCgroups to run without cpu and memory limits.", exception);
        }
    }

    // Only the pool needs the freezer, so its absence is not an error.
    private void CreateFreezer()
    {
        if (!_v1!.TryGetValue(CgroupV1.Freezer, out string? freezer))
        {
            return;
        }

        try
        {
            Directory.CreateDirectory(freezer);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            _v1.Remove(CgroupV1.Freezer);
        }
    }

    /// <summary>Whether sandboxes can be frozen.</summary>
    internal bool CanFreeze => _v2 is not null ? CgroupV2.HasFreezer(_v2) : _v1!.ContainsKey(CgroupV1.Freezer);

    /// <summary>Whether the cgroups of sandboxes count processor time.</summary>
    internal bool CountsCpu => _v2 is not null || _v1!.ContainsKey("cpuacct");

    /// <summary>Creates the cgroup of one sandbox, with the weight of a waiting one.</summary>
    /// <param name="name">Name of the cgroup.</param>
    internal Cgroup CreateCgroup(string name)
    {
        Cgroup cgroup = _v2 is not null
            ? new CgroupV2(Path.Join(_v2, name), _time)
            : new CgroupV1(_v1!.ToDictionary(pair => pair.Key, pair => Path.Join(pair.Value, name), StringComparer.Ordinal), _time);
        try
        {
            foreach (string directory in cgroup.Directories)
            {
                Directory.CreateDirectory(directory);
            }

            cgroup.SetCpuWeight(Cgroup.WaitingWeight);
            return cgroup;
        }
        catch
        {
            RemoveEmpty(cgroup.Directories);
            throw;
        }
    }

    /// <summary>Finds missing parents of the instance's directories, which <see cref="Create"/> creates and the instance removes again.</summary>
    internal IEnumerable<string> MissingParents()
    {
        foreach (string directory in Directories)
        {
            for (string? above = Path.GetDirectoryName(directory); above is not null && !Directory.Exists(above); above = Path.GetDirectoryName(above))
            {
                yield return above;
            }
        }
    }

    /// <summary>Removes empty directories. Others stay.</summary>
    internal static void RemoveEmpty(IEnumerable<string> directories)
    {
        foreach (string directory in directories.OrderByDescending(directory => directory.Length))
        {
            try
            {
                Directory.Delete(directory);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                // The directory has cgroups of another instance, or was not created.
            }
        }
    }

    /// <summary>Kills the processes in the directories of the instance, and removes the directories.</summary>
    public async ValueTask DisposeAsync() => await RemoveAsync(Directories, _time).ConfigureAwait(false);

    /// <summary>Removes leftovers of an instance: kills every process in its directories, and removes the directories.</summary>
    /// <param name="instanceDirectories">Directories of the instance; they need not exist.</param>
    /// <param name="time">Clock of the pauses between attempts.</param>
    /// <exception cref="IOException">A directory still has processes 10 s after they were killed.</exception>
    internal static async Task RemoveAsync(IReadOnlyList<string> instanceDirectories, TimeProvider time)
    {
        // All hierarchies at once: processes must be killed in all of them, but thawed in one.
        string[] directories = [.. instanceDirectories.Where(Directory.Exists).SelectMany(instance => (string[])[.. Directory.GetDirectories(instance), instance])];
        if (directories.Length > 0)
        {
            await Cgroup.RemoveAsync(directories, () => KillAll(directories), time).ConfigureAwait(false);
        }
    }

    private static void KillAll(IReadOnlyList<string> directories)
    {
        foreach (int pid in directories.SelectMany(directory => Cgroup.ReadProcesses(Path.Join(directory, "cgroup.procs"))))
        {
            _ = Native.Signal.kill(pid, Native.Signal.SIGKILL);
        }

        // A frozen process in a cgroup of v1 dies only when it is thawed.
        foreach (string directory in directories)
        {
            CgroupV1.Thaw(directory);
        }
    }

    private static void EnableControllers(string directory)
    {
        string file = Path.Join(directory, "cgroup.subtree_control");
        string[] enabled = File.ReadAllText(file).Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries);
        string[] wanted = [.. RequiredControllers.Except(enabled, StringComparer.Ordinal).Select(controller => "+" + controller)];
        if (wanted.Length > 0)
        {
            File.WriteAllText(file, string.Join(' ', wanted));
        }
    }
}
