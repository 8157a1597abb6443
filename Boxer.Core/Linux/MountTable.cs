using Boxer.Native;

namespace Boxer.Linux;

/// <summary>Reads the mounts of this process's namespace (proc(5), mountinfo).</summary>
internal static class MountTable
{
    /// <summary>Finds the mount points below a directory, the newest first: it can cover an older one. The paths have no symbolic links.</summary>
    internal static IEnumerable<string> Below(string directory)
    {
        string prefix = Stdlib.RealPath(directory) + "/";
        return File.ReadAllLines("/proc/self/mountinfo")
            .Select(line => Unescape(line.Split(' ')[4]))
            .Where(mountPoint => mountPoint.StartsWith(prefix, StringComparison.Ordinal))
            .Reverse();
    }

    /// <summary>Decodes a field of proc(5), in which space, tab, newline and backslash are octal.</summary>
    internal static string Unescape(string field) =>
        field.Replace("\\040", " ", StringComparison.Ordinal).Replace("\\011", "\t", StringComparison.Ordinal)
            .Replace("\\012", "\n", StringComparison.Ordinal).Replace("\\134", "\\", StringComparison.Ordinal);
}
