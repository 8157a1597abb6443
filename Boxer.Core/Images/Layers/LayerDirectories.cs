using System.Runtime.InteropServices;
using System.Text;
using Boxer.Linux;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Images.Layers;

/// <summary>An open directory that an entry goes into.</summary>
/// <param name="Handle">The directory; not disposed by its users.</param>
/// <param name="Inode">Its inode.</param>
/// <param name="IsRoots">Whether new entries in it belong to user 0 and group 0 without a change of owner.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct ParentDirectory(SafeFileHandle Handle, ulong Inode, bool IsRoots);

/// <summary>
/// Opens the directories of one layer, resolved inside the layer's root, and creates missing ones. The directory of the last entry stays open for
/// the next.
/// </summary>
/// <param name="root">The layer's root; not disposed.</param>
/// <param name="options">How the layer is unpacked.</param>
/// <param name="record">The entries that the layer has written.</param>
internal sealed class LayerDirectories(SafeFileHandle root, LayerExtractionOptions options, LayerRecord record) : IDisposable
{
    /// <summary>Mode of directories without an entry in the archive: 0755.</summary>
    public const uint ImpliedMode = 0x1ED;

    // In a directory of group 0, entries that user 0 and group 0 create belong to them, whatever the directory's mode and the mount options are.
    private readonly bool _isRoot = Unistd.geteuid() == 0 && Unistd.getegid() == 0;
    private ParentDirectory? _parent;
    private string? _parentPath;

    /// <summary>Opens the directory that an entry goes into, and creates missing directories.</summary>
    /// <param name="parts">Parts of the directory's path.</param>
    /// <returns>The directory, until the next call or <see cref="CloseParent"/>.</returns>
    /// <exception cref="InvalidDataException">Something other than a directory is in the way.</exception>
    public ParentDirectory OpenParent(ReadOnlySpan<byte[]> parts)
    {
        byte[] path = LayerPath.Join(parts);
        string key = Encoding.Latin1.GetString(path);
        if (key == _parentPath)
        {
            return _parent!.Value;
        }

        CloseParent();

        // With applied whiteouts, every directory on the way counts as written by this layer, so each one is opened.
        SafeFileHandle opened = OpenInRoot(path);
        if (opened.IsInvalid || options.Whiteouts == WhiteoutFormat.Applied)
        {
            opened.Dispose();
            opened = MakeParents(parts);
        }

        // Closed by CloseParent, also if its status cannot be read.
        _parent = new(opened, 0, false);
        SysStat.statx_t status = DirectoryHandle.Status(opened);
        ParentDirectory parent = new(opened, status.stx_ino, _isRoot && status.stx_gid == 0);
        _parent = parent;
        _parentPath = key;

        // If the layer has no entry for the directory, changes in it must not change its time.
        record.KeepTime(parent.Inode, new(path, status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec));
        return parent;
    }

    /// <summary>Closes the directory of the last entry. Needed after a change that may replace it, or change its owner.</summary>
    public void CloseParent()
    {
        _parent?.Handle.Dispose();
        _parent = null;
        _parentPath = null;
    }

    /// <summary>Opens a directory, resolved inside the root.</summary>
    /// <param name="path">Its path, which ends with NUL.</param>
    /// <param name="resolve">Further restrictions of openat2(2).</param>
    /// <returns>The directory; an invalid handle if there is none, and the last error tells whether something else is in its way.</returns>
    public SafeFileHandle OpenInRoot(byte[] path, ulong resolve = 0)
    {
        SafeFileHandle directory = DirectoryHandle.TryOpenInTree(root, path, Fcntl.RESOLVE_NO_XDEV | resolve);
        return directory.IsInvalid && Marshal.GetLastPInvokeError() is var errno and not (Errno.ENOENT or Errno.ENOTDIR or Errno.ELOOP)
            ? throw new NativeException("openat2", errno, null)
            : directory;
    }

    /// <summary>Removes an existing entry, with everything below it, to make way for another.</summary>
    /// <param name="parent">The entry's directory.</param>
    /// <param name="name">The entry's name.</param>
    public void Clear(ParentDirectory parent, byte[] name) => Clear(parent.Handle, parent.Inode, name);

    /// <inheritdoc/>
    public void Dispose() => CloseParent();

    /// <summary>Gets the status of an entry. No link is followed.</summary>
    /// <param name="parent">The entry's directory.</param>
    /// <param name="name">The entry's name.</param>
    /// <returns><see langword="null"/> if there is no such entry.</returns>
    public static SysStat.statx_t? Find(SafeFileHandle parent, byte[] name)
    {
        if (SysStat.statx(parent, name, Fcntl.AT_SYMLINK_NOFOLLOW, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status) == 0)
        {
            return status;
        }

        int errno = Marshal.GetLastPInvokeError();
        return errno == Errno.ENOENT ? null : throw new NativeException("statx", errno, null);
    }

    /// <summary>Gets the inode of an open directory.</summary>
    /// <param name="directory">The directory.</param>
    public static ulong Inode(SafeFileHandle directory) => DirectoryHandle.Status(directory).stx_ino;

    private void Clear(SafeFileHandle parent, ulong parentInode, byte[] name)
    {
        if (Find(parent, name) is not { } existing)
        {
            return;
        }

        TreeRemover.Remove(parent, name, record.RemoveDirectory);
        record.RemoveEntry(parentInode, name);
        if (existing.Type is SysStat.S_IFDIR or SysStat.S_IFLNK)
        {
            // The path of the open parent may have led through the removed entry. The handle itself remains valid for the current entry: it cannot be
            // below an entry that was removed in it.
            _parentPath = null;
        }
    }

    private SafeFileHandle MakeParents(ReadOnlySpan<byte[]> parts)
    {
        SafeFileHandle current = DirectoryHandle.Open(root, ".\0"u8);
        try
        {
            for (int i = 0; i < parts.Length; i++)
            {
                ulong inode = Inode(current);
                SafeFileHandle next = OpenNext(current, inode, parts[..(i + 1)]);

                record.AddEntry(inode, parts[i]);
                current.Dispose();
                current = next;
            }

            return current;
        }
        catch
        {
            current.Dispose();
            throw;
        }
    }

    /// <summary>Opens the last part in the directory of the others, or creates it.</summary>
    private SafeFileHandle OpenNext(SafeFileHandle current, ulong inode, ReadOnlySpan<byte[]> parts)
    {
        // Only a link needs the whole path: its target is resolved from the root.
        SafeFileHandle next = DirectoryHandle.TryOpen(current, parts[^1]);
        if (!next.IsInvalid)
        {
            return next;
        }

        byte[] path = LayerPath.Join(parts);
        if (Marshal.GetLastPInvokeError() != Errno.ENOENT)
        {
            next = OpenInRoot(path);
            if (!next.IsInvalid)
            {
                return next;
            }
        }

        MakeImplied(current, inode, parts[^1], path);
        return DirectoryHandle.Open(current, parts[^1]);
    }

    /// <summary>Creates a directory that the archive has no entry for, yet.</summary>
    private void MakeImplied(SafeFileHandle parent, ulong parentInode, byte[] name, byte[] path)
    {
        bool isApplied = options.Whiteouts == WhiteoutFormat.Applied;
        bool hidesLower = false;
        if (Find(parent, name) is { } existing)
        {
            hidesLower = IsWhiteout(existing);
            if (!hidesLower && (!isApplied || record.HasEntry(parentInode, name)))
            {
                throw new InvalidDataException($"{LayerPath.Show(name)} above it is not a directory");
            }

            Clear(parent, parentInode, name);
        }

        record.Count(LayerRecord.BlockBytes);
        Check.Result(SysStat.mkdirat(parent, name, ImpliedMode), "mkdir");
        using SafeFileHandle directory = DirectoryHandle.Open(parent, name);
        if (!isApplied && !hidesLower)
        {
            record.AddImplied(Inode(directory), path);
        }

        Check.Result(SysStat.fchmod(directory, ImpliedMode), "chmod");
        if (options.KeepOwners)
        {
            Check.Result(Unistd.fchown(directory, 0, 0), "chown");
        }

        if (hidesLower)
        {
            OpaqueDirectory.Mark(directory);
        }
    }

    // Devices of the layer itself are left out, so a device in the tree is a whiteout that was made here.
    private static bool IsWhiteout(SysStat.statx_t status) => status.Type == SysStat.S_IFCHR;
}
