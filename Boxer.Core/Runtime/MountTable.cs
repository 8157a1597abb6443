using Boxer.Native;

namespace Boxer.Runtime;

/// <summary>The mounts of this process's namespace (proc(5), mountinfo).</summary>
internal static class MountTable
{
    /// <summary>Detaches every mount in or below a directory, the last made first.</summary>
    internal static void UnmountBelow(string directory)
    {
        string prefix = directory + "/";
        IEnumerable<string> mountPoints = File.ReadLines("/proc/self/mountinfo")
            .Select(line => line.Split(' '))
            .Where(fields => fields.Length > 4 && fields[4].StartsWith(prefix, StringComparison.Ordinal))
            .Select(fields => fields[4])
            .Reverse()
            .ToArray();
        foreach (string mountPoint in mountPoints)
        {
            _ = SysMount.umount2(mountPoint, SysMount.MNT_DETACH);
        }
    }
}
