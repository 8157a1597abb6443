using System.Runtime.InteropServices;
using System.Text;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Fuzz;

/// <summary>Checks the tree that an extractor created.</summary>
internal sealed partial class Tree
{
    private readonly LayerInputFlags _flags;
    private readonly HashSet<ulong> _files = [];

    private Tree(LayerInputFlags flags)
    {
        _flags = flags;
    }

    public int Entries { get; private set; }

    public long Bytes { get; private set; }

    /// <summary>Whether the tree has entries or attributes that a new directory does not have.</summary>
    public bool IsTouched { get; private set; }

    /// <summary>Walks and checks a tree.</summary>
    /// <param name="root">Root of the tree.</param>
    /// <param name="flags">Options of the extraction.</param>
    /// <exception cref="InvariantException">The tree has an entry, owner or attribute that no layer may create.</exception>
    public static Tree Check(SafeFileHandle root, LayerInputFlags flags)
    {
        var tree = new Tree(flags);
        tree.CheckAttributes(root, "."u8, isDirectory: true);
        tree.CheckDirectory(root);
        return tree;
    }

    private void CheckDirectory(SafeFileHandle directory)
    {
        foreach (byte[] name in Dirent.ReadNames(directory))
        {
            IsTouched = true;
            Entries++;
            Native.Check.Result(SysStat.statx(directory, name, Fcntl.AT_SYMLINK_NOFOLLOW, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status), "statx");
            if (status.Type == SysStat.S_IFREG)
            {
                Bytes += _files.Add(status.stx_ino) ? (long)status.stx_size : 0;
            }
            else if (status.Type is not (SysStat.S_IFDIR or SysStat.S_IFLNK)
                && !(status.Type == SysStat.S_IFCHR && _flags.HasFlag(LayerInputFlags.Overlay) && status is { stx_rdev_major: 0, stx_rdev_minor: 0 }))
            {
                throw new InvariantException($"a file has the mode 0x{status.stx_mode:x} and the device number {status.stx_rdev_major}:{status.stx_rdev_minor}");
            }

            if (!_flags.HasFlag(LayerInputFlags.KeepOwners) && (status.stx_uid != Unistd.geteuid() || status.stx_gid != Unistd.getegid()))
            {
                throw new InvariantException($"a file belongs to {status.stx_uid}:{status.stx_gid}");
            }

            CheckAttributes(directory, name, status.Type == SysStat.S_IFDIR);
            if (status.Type == SysStat.S_IFDIR)
            {
                using SafeFileHandle below = Fcntl.openat(directory, name, Fcntl.O_RDONLY | Fcntl.O_DIRECTORY | Fcntl.O_NOFOLLOW | Fcntl.O_CLOEXEC, 0);
                Native.Check.Result(below.IsInvalid ? -1 : 0, "open");
                CheckDirectory(below);
            }
        }
    }

    private void CheckAttributes(SafeFileHandle directory, ReadOnlySpan<byte> name, bool isDirectory)
    {
        Span<byte> list = stackalloc byte[4096];
        // Only this path reads an entry's own attributes without opening it.
        byte[] path = [.. Encoding.ASCII.GetBytes($"/proc/self/fd/{directory.DangerousGetHandle()}/"), .. name, 0];
        int length = (int)Native.Check.Result((long)llistxattr(path, list, (nuint)list.Length), "llistxattr");
        list = list[..length];
        while (list.Length > 0)
        {
            IsTouched = true;
            int end = list.IndexOf((byte)0);
            ReadOnlySpan<byte> attribute = list[..end];
            bool isAllowed = attribute.StartsWith("user."u8) ? !attribute.StartsWith("user.overlay."u8)
                : attribute.SequenceEqual("trusted.overlay.opaque"u8) ? isDirectory && _flags.HasFlag(LayerInputFlags.Overlay)
                : attribute.SequenceEqual("security.capability"u8) && _flags.HasFlag(LayerInputFlags.KeepOwners);
            if (!isAllowed)
            {
                throw new InvariantException($"a file has the attribute {Encoding.UTF8.GetString(attribute)}");
            }

            list = list[(end + 1)..];
        }
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint llistxattr(ReadOnlySpan<byte> path, Span<byte> list, nuint size);
}

/// <summary>The extractor broke an invariant.</summary>
internal sealed class InvariantException(string message) : Exception(message);
