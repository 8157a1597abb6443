using System.Globalization;
using System.Runtime.InteropServices;
using Boxer.Native;

namespace Boxer.Linux;

/// <summary>Identifies a file by its device and inode (statx(2)), independent of paths and mount namespaces.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct FileIdentity(uint DeviceMajor, uint DeviceMinor, ulong Inode)
{
    /// <summary>Reads the identity of the file at a path. Follows symbolic links.</summary>
    /// <returns><see langword="null"/> if the file does not exist or this process may not see it.</returns>
    internal static FileIdentity? Of(string path) =>
        SysStat.statx(Fcntl.AT_FDCWD, path, 0, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status) == 0
            ? new(status.stx_dev_major, status.stx_dev_minor, status.stx_ino)
            : null;

    /// <summary>Parses a text that <see cref="ToString"/> returned.</summary>
    /// <returns><see langword="null"/> if the text is not an identity.</returns>
    internal static FileIdentity? Parse(string text) =>
        text.Split(':') is [var major, var minor, var inode]
        && uint.TryParse(major, NumberStyles.None, CultureInfo.InvariantCulture, out uint deviceMajor)
        && uint.TryParse(minor, NumberStyles.None, CultureInfo.InvariantCulture, out uint deviceMinor)
        && ulong.TryParse(inode, NumberStyles.None, CultureInfo.InvariantCulture, out ulong number)
            ? new(deviceMajor, deviceMinor, number)
            : null;

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{DeviceMajor}:{DeviceMinor}:{Inode}");
}
