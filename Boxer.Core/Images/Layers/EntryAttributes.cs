using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Images.Layers;

/// <summary>Sets owners, modes, extended attributes and times of the files and directories of a layer.</summary>
/// <param name="options">How the layer is unpacked.</param>
internal sealed class EntryAttributes(LayerExtractionOptions options)
{
    private const uint SetIdBits = 0xC00; // 06000

    /// <summary>Permissions that the owner keeps on files without <see cref="LayerExtractionOptions.KeepOwners"/>: 0400.</summary>
    public const uint FilePermissions = 0x100;

    /// <summary>Permissions that the owner keeps on directories without <see cref="LayerExtractionOptions.KeepOwners"/>: 0700.</summary>
    public const uint DirectoryPermissions = 0x1C0;

    /// <summary>Sets owner, mode and extended attributes.</summary>
    /// <param name="file">The file or directory.</param>
    /// <param name="entry">Its entry.</param>
    /// <param name="kept">Permissions that the owner keeps where owners are not those of the archive.</param>
    /// <param name="isOwnedByRoot">Whether user 0 and group 0 own it already.</param>
    public void Set(SafeFileHandle file, LayerEntry entry, uint kept, bool isOwnedByRoot)
    {
        // Owner before mode and capabilities: a change of the owner removes setuid bits and capabilities (chown(2)).
        uint mode = options.KeepSetId || entry.Type != LayerEntryType.File ? entry.Mode : entry.Mode & ~SetIdBits;
        if (options.KeepOwners)
        {
            if (!isOwnedByRoot || entry.Uid != 0 || entry.Gid != 0)
            {
                Check.Result(Unistd.fchown(file, entry.Uid, entry.Gid), "chown");
            }
        }
        else
        {
            mode |= kept;
        }

        Check.Result(SysStat.fchmod(file, mode), "chmod");
        foreach ((string name, byte[] value) in entry.ExtendedAttributes)
        {
            if (name.Contains('\0', StringComparison.Ordinal))
            {
                continue;
            }

            if (name == "security.capability" && options.KeepOwners)
            {
                Check.Result(SysXattr.fsetxattr(file, name, value, (nuint)value.Length, 0), "setxattr");
            }
            else if (name.StartsWith("user.", StringComparison.Ordinal) && !name.StartsWith("user.overlay.", StringComparison.Ordinal))
            {
                // Best effort: a file system may not support these attributes, or have no space for this one.
                _ = SysXattr.fsetxattr(file, name, value, (nuint)value.Length, 0);
            }
        }
    }

    /// <summary>Sets owner and time of a symbolic link.</summary>
    /// <param name="parent">The link's directory.</param>
    /// <param name="name">The link's name.</param>
    /// <param name="entry">The link's entry.</param>
    public unsafe void SetOfLink(SafeFileHandle parent, byte[] name, LayerEntry entry)
    {
        if (options.KeepOwners)
        {
            Check.Result(Unistd.fchownat(parent, name, entry.Uid, entry.Gid, Fcntl.AT_SYMLINK_NOFOLLOW), "chown");
        }

        SysStat.timespec_t* times = stackalloc SysStat.timespec_t[2];
        Fill(times, entry.ModifiedSeconds, entry.ModifiedNanoseconds);
        Check.Result(SysStat.utimensat(parent, name, times, Fcntl.AT_SYMLINK_NOFOLLOW), "utimensat");
    }

    /// <summary>Sets the modification time of a file or directory.</summary>
    /// <param name="file">The file or directory.</param>
    /// <param name="seconds">Seconds since 1970.</param>
    /// <param name="nanoseconds">Nanoseconds after <paramref name="seconds"/>.</param>
    public static unsafe void SetTime(SafeFileHandle file, long seconds, long nanoseconds)
    {
        SysStat.timespec_t* times = stackalloc SysStat.timespec_t[2];
        Fill(times, seconds, nanoseconds);
        Check.Result(SysStat.futimens(file, times), "futimens");
    }

    private static unsafe void Fill(SysStat.timespec_t* times, long seconds, long nanoseconds)
    {
        times[0] = new() { tv_nsec = SysStat.UTIME_OMIT };
        times[1] = new() { tv_sec = seconds, tv_nsec = nanoseconds };
    }
}
