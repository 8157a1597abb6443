using System.Globalization;
using System.Runtime.InteropServices;
using Boxer.Native;

namespace Boxer.Linux;

/// <summary>Names a file by its device and inode (statx(2)), whatever path leads to it from any mount namespace.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct FileIdentity(uint DeviceMajor, uint DeviceMinor, ulong Inode)
{
    /// <summary>Reads the identity of what a path leads to.</summary>
    /// <returns><see langword="null"/> where there is nothing, or nothing that this process may see.</returns>
    internal static FileIdentity? Of(string path) =>
        SysStat.statx(Fcntl.AT_FDCWD, path, 0, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status) == 0
            ? new(status.stx_dev_major, status.stx_dev_minor, status.stx_ino)
            : null;

    /// <summary>Parses what <see cref="ToString"/> wrote.</summary>
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
