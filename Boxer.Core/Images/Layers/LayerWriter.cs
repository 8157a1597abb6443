using System.Runtime.InteropServices;
using System.Text;
using Boxer.Common;
using Boxer.Linux;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Images.Layers;

/// <summary>Writes the entries of one layer below an open directory.</summary>
/// <param name="root">The directory; not disposed.</param>
/// <param name="options">How the layer is unpacked.</param>
internal sealed class LayerWriter(SafeFileHandle root, LayerExtractionOptions options) : IDisposable
{
    private const int MaxPruneDepth = 256;
    /// <summary>What a directory takes on the disk at least.</summary>
    public const long BlockBytes = 4096;


    // Bytes that a name takes in a set beside its characters.
    private const int NameOverhead = 64;

    // Bytes that a directory takes beside its path: an array, an entry among the directories, and the set of the names in it or an entry among
    // those that are implied.
    private const int DirectoryOverhead = 320;

    // A longer target of a symbolic link takes a block of its own (ext4, xfs and btrfs have room for at least so much in the inode).
    private const int MaxInlineTarget = 59;
    private const uint ImplicitDirectoryMode = 0x1ED; // 0755
    private const uint SetIdBits = 0xC00; // 06000

    // What this layer made, by directory and name, so that its whiteouts spare it; only needed where whiteouts are applied.
    private readonly Dictionary<ulong, HashSet<string>> _written = [];

    // Times of directories are set at the end: making entries in them changes them.
    private readonly Dictionary<ulong, (byte[] Path, long Seconds, long Nanoseconds)> _directories = [];

    // Directories that hold nothing of lower layers any more, so that another opaque whiteout has nothing to do.
    private readonly HashSet<ulong> _pruned = [];

    private readonly Dictionary<ulong, byte[]> _implied = [];
    private SafeFileHandle? _parent;
    private string? _parentPath;
    private ulong _parentInode;

    // What is made in a directory of the group 0 by user and group 0 is theirs, whatever the directory's mode and the mount say.
    private readonly bool _isRoot = Unistd.geteuid() == 0 && Unistd.getegid() == 0;
    private bool _isParentRoots;
    private int _entries;
    private long _bytes;
    private long _nameBytes;

    private bool Applied => options.Whiteouts == WhiteoutFormat.Applied;

    /// <summary>Makes what an entry says.</summary>
    /// <param name="entry">The entry.</param>
    /// <returns>For a file, where its content goes: then call <see cref="FinishFile"/>. Else <see langword="null"/>.</returns>
    public SafeFileHandle? Write(LayerEntry entry)
    {
        byte[][] parts = LayerPath.Split(entry.Name);
        if (parts.Length == 0)
        {
            WriteRoot(entry);
            return null;
        }

        if (parts.Any(part => part.AsSpan().StartsWith(".wh..wh."u8) && !part.AsSpan().SequenceEqual(".wh..wh..opq\0"u8)))
        {
            // What aufs kept beside the files: no part of the image (OCI image spec, layer.md, reserves the prefix).
            return null;
        }

        if (parts.AsSpan(..^1).ContainsAnyWhiteout())
        {
            throw new InvalidDataException("a whiteout is no directory");
        }

        byte[] name = parts[^1];
        bool whiteout = name.AsSpan().StartsWith(".wh."u8);
        if (!whiteout && entry.Type is LayerEntryType.CharacterDevice or LayerEntryType.BlockDevice or LayerEntryType.Fifo)
        {
            return options.SpecialFiles == SpecialFilePolicy.Skip ? null : throw new InvalidDataException("it is a device or FIFO");
        }

        Count(whiteout ? 0 : entry.Type switch
        {
            LayerEntryType.Directory => BlockBytes,
            LayerEntryType.SymbolicLink => entry.LinkName.Length > MaxInlineTarget ? BlockBytes : 0,
            LayerEntryType.File => entry.Size + (entry.ExtendedAttributes.Count > 0 ? BlockBytes : 0),
            _ => 0,
        });
        if (whiteout)
        {
            WriteWhiteout(parts.AsSpan(..^1), name);
            return null;
        }

        SafeFileHandle parent = OpenParent(parts.AsSpan(..^1), out ulong parentInode);
        switch (entry.Type)
        {
            case LayerEntryType.Directory:
                WriteDirectory(parent, parentInode, name, LayerPath.Join(parts), entry);
                return null;
            case LayerEntryType.SymbolicLink:
                WriteSymbolicLink(parent, parentInode, name, entry);
                return null;
            case LayerEntryType.HardLink:
                WriteHardLink(parent, parentInode, name, entry);
                return null;
            default:
                SafeFileHandle file = CreateFile(parent, name);
                if (file.IsInvalid && Marshal.GetLastPInvokeError() == Errno.EEXIST)
                {
                    Clear(parent, parentInode, name);
                    file = CreateFile(parent, name);
                }

                Check.Result(file.IsInvalid ? -1 : 0, "open");
                MarkWritten(parentInode, name);
                return file;
        }
    }

    /// <summary>Sets owner, mode, attributes and time of a file whose content was written.</summary>
    /// <param name="file">The file.</param>
    /// <param name="entry">Its entry.</param>
    public unsafe void FinishFile(SafeFileHandle file, LayerEntry entry)
    {
        SetOwnerAndMode(file, entry, unprivilegedMode: 0x100, isOurs: _isParentRoots); // 0400
        SysStat.timespec_t* times = stackalloc SysStat.timespec_t[2];
        SetTimes(times, entry.ModifiedSeconds, entry.ModifiedNanoseconds);
        Check.Result(SysStat.futimens(file, times), "futimens");
    }

    /// <summary>Sets the times of the directories.</summary>
    public unsafe void Finish()
    {
        SysStat.timespec_t* times = stackalloc SysStat.timespec_t[2];
        foreach ((ulong inode, (byte[] path, long seconds, long nanoseconds)) in _directories)
        {
            // A later entry may have put something else there: then it is not the directory any more whose time is known.
            using SafeFileHandle directory = OpenInRoot(path);
            if (!directory.IsInvalid && Inode(directory) == inode)
            {
                SetTimes(times, seconds, nanoseconds);
                Check.Result(SysStat.futimens(directory, times), "futimens");
            }
        }
    }

    /// <summary>Directories that no entry was about; see <see cref="ExtractedLayer.ImpliedDirectories"/>.</summary>
    public IReadOnlyList<ReadOnlyMemory<byte>> ImpliedDirectories()
    {
        var implied = new List<ReadOnlyMemory<byte>>();
        foreach ((ulong inode, byte[] path) in _implied)
        {
            // A name that leads through a link is not the directory's own.
            using SafeFileHandle directory = OpenInRoot(path, Fcntl.RESOLVE_NO_SYMLINKS);
            if (!directory.IsInvalid && Inode(directory) == inode)
            {
                implied.Add(path.AsMemory(0, path.Length - 1));
            }
        }

        return implied;
    }

    /// <inheritdoc/>
    public void Dispose() => _parent?.Dispose();

    private void WriteRoot(LayerEntry entry)
    {
        if (entry.Type != LayerEntryType.Directory)
        {
            throw new InvalidDataException("the root must be a directory");
        }

        SetOwnerAndMode(root, entry, unprivilegedMode: 0x1C0, isOurs: false); // 0700

        // It may be what is open now, with another group than before.
        ForgetParent();
        _directories[Inode(root)] = (LayerPath.Join([]), entry.ModifiedSeconds, entry.ModifiedNanoseconds);
    }

    private void WriteDirectory(SafeFileHandle parent, ulong parentInode, byte[] name, byte[] path, LayerEntry entry)
    {
        bool isNew = SysStat.mkdirat(parent, name, ImplicitDirectoryMode) == 0;
        if (!isNew && Marshal.GetLastPInvokeError() is var errno and not Errno.EEXIST)
        {
            throw new NativeException("mkdir", errno, null);
        }

        if (!isNew && Find(parent, name) is not { Type: SysStat.S_IFDIR })
        {
            Clear(parent, parentInode, name);
            Check.Result(SysStat.mkdirat(parent, name, ImplicitDirectoryMode), "mkdir");
            if (!Applied)
            {
                // Whatever this layer had here, a file or a whiteout, hid what lower layers have.
                SetOpaque(parent, name);
            }
        }

        using SafeFileHandle directory = DirectoryHandle.Open(parent, name);
        SetOwnerAndMode(directory, entry, unprivilegedMode: 0x1C0, isOurs: isNew && _isParentRoots); // 0700
        ulong inode = Inode(directory);
        Remember(path.Length, DirectoryOverhead);
        _directories[inode] = (path, entry.ModifiedSeconds, entry.ModifiedNanoseconds);
        _implied.Remove(inode);
        MarkWritten(parentInode, name);
    }

    private unsafe void WriteSymbolicLink(SafeFileHandle parent, ulong parentInode, byte[] name, LayerEntry entry)
    {
        if (entry.LinkName.Length is 0 or > CleanPath.MaxBytes)
        {
            throw new InvalidDataException("the target of a symbolic link is empty or too long");
        }

        byte[] target = [.. entry.LinkName, 0];
        if (Unistd.symlinkat(target, parent, name) != 0)
        {
            if (Marshal.GetLastPInvokeError() is var errno and not Errno.EEXIST)
            {
                throw new NativeException("symlink", errno, null);
            }

            Clear(parent, parentInode, name);
            Check.Result(Unistd.symlinkat(target, parent, name), "symlink");
        }

        if (options.KeepOwners)
        {
            Check.Result(Unistd.fchownat(parent, name, entry.Uid, entry.Gid, Fcntl.AT_SYMLINK_NOFOLLOW), "chown");
        }

        SysStat.timespec_t* times = stackalloc SysStat.timespec_t[2];
        SetTimes(times, entry.ModifiedSeconds, entry.ModifiedNanoseconds);
        Check.Result(SysStat.utimensat(parent, name, times, Fcntl.AT_SYMLINK_NOFOLLOW), "utimensat");
        MarkWritten(parentInode, name);
    }

    private void WriteHardLink(SafeFileHandle parent, ulong parentInode, byte[] name, LayerEntry entry)
    {
        byte[][] target = LayerPath.Split(entry.LinkName);
        if (target.Length == 0 || target.AsSpan().ContainsAnyWhiteout())
        {
            throw new InvalidDataException("a hard link must name a file");
        }

        using SafeFileHandle targetParent = OpenInRoot(LayerPath.Join(target.AsSpan(..^1)));
        if (targetParent.IsInvalid
            || Find(targetParent, target[^1]) is not { Type: SysStat.S_IFREG or SysStat.S_IFLNK } status)
        {
            throw new InvalidDataException($"the hard link's target {LayerPath.Show(entry.LinkName)} is not a file in this layer");
        }

        if (Find(parent, name) is { } existing && existing.stx_ino == status.stx_ino)
        {
            // Already the same file: clearing the way would remove what is to be linked to.
            MarkWritten(parentInode, name);
            return;
        }

        // Clearing the way may remove the target, if it is below: then linkat says so.
        Clear(parent, parentInode, name);
        if (Unistd.linkat(targetParent, target[^1], parent, name, 0) != 0)
        {
            int errno = Marshal.GetLastPInvokeError();
            throw errno == Errno.ENOENT
                ? new InvalidDataException($"the hard link's target {LayerPath.Show(entry.LinkName)} is not a file in this layer")
                : new NativeException("link", errno, null);
        }

        MarkWritten(parentInode, name);
    }

    private void WriteWhiteout(ReadOnlySpan<byte[]> parents, byte[] name)
    {
        byte[] hidden = name[4..];
        if (hidden.AsSpan().SequenceEqual("\0"u8) || hidden.AsSpan().SequenceEqual(".\0"u8) || hidden.AsSpan().SequenceEqual("..\0"u8))
        {
            throw new InvalidDataException("a whiteout names no entry");
        }

        if (HidesNothing(parents))
        {
            return;
        }

        SafeFileHandle parent = OpenParent(parents, out ulong parentInode);
        if (name.AsSpan().SequenceEqual(".wh..wh..opq\0"u8))
        {
            if (Applied)
            {
                Prune(parent, parentInode, 0);
                ForgetParent();
            }
            else
            {
                OpaqueDirectory.Mark(parent);
            }

            return;
        }

        SysStat.statx_t? existing = Find(parent, hidden);
        if (Applied)
        {
            if (existing is null)
            {
                return;
            }

            if (!WasWritten(parentInode, hidden))
            {
                Clear(parent, parentInode, hidden);
            }
            else if (existing is { Type: SysStat.S_IFDIR })
            {
                using SafeFileHandle directory = DirectoryHandle.Open(parent, hidden);
                Prune(directory, Inode(directory), 1);
                ForgetParent();
            }

            return;
        }

        if (existing is null)
        {
            Check.Result(SysStat.mknodat(parent, hidden, SysStat.S_IFCHR, 0), "mknod");
        }
        else if (existing is { Type: SysStat.S_IFDIR })
        {
            // This layer made the directory anew: what lower layers have in it is gone.
            SetOpaque(parent, hidden);
            _implied.Remove(existing.Value.stx_ino);
        }
    }

    // Where whiteouts are applied there may be no such directory. And this layer may have a file or a link in its place: some tools then list
    // what was in the directory too (umoci repack).
    private bool HidesNothing(ReadOnlySpan<byte[]> parents)
    {
        byte[] path = LayerPath.Join(parents);
        using SafeFileHandle directory = OpenInRoot(path);
        if (!directory.IsInvalid)
        {
            return false;
        }

        if (Applied || Marshal.GetLastPInvokeError() != Errno.ENOENT)
        {
            return true;
        }

        using SafeFileHandle plain = OpenInRoot(path, Fcntl.RESOLVE_NO_SYMLINKS);
        return plain.IsInvalid && Marshal.GetLastPInvokeError() != Errno.ENOENT;
    }

    /// <summary>Opens a directory, resolved inside the root.</summary>
    /// <returns>An invalid handle where there is none: the last error says whether something else is in its way.</returns>
    private SafeFileHandle OpenInRoot(byte[] path, ulong more = 0)
    {
        SafeFileHandle directory = DirectoryHandle.TryOpenInTree(root, path, Fcntl.RESOLVE_NO_XDEV | more);
        return directory.IsInvalid && Marshal.GetLastPInvokeError() is var errno and not (Errno.ENOENT or Errno.ENOTDIR or Errno.ELOOP)
            ? throw new NativeException("openat2", errno, null)
            : directory;
    }

    /// <summary>Removes what lower layers left in a directory.</summary>
    private void Prune(SafeFileHandle directory, ulong inode, int depth)
    {
        if (depth > MaxPruneDepth)
        {
            throw new InvalidDataException($"an opaque directory has more than {MaxPruneDepth} levels of directories below it");
        }

        if (!_pruned.Add(inode))
        {
            return;
        }

        using SafeFileHandle listed = DirectoryHandle.Open(directory, ".\0"u8);
        foreach (byte[] child in Dirent.ReadNames(listed))
        {
            if (!WasWritten(inode, child))
            {
                TreeRemover.Remove(directory, child, Forget);
            }
            else if (Find(directory, child) is { Type: SysStat.S_IFDIR })
            {
                using SafeFileHandle below = DirectoryHandle.Open(directory, child);
                Prune(below, Inode(below), depth + 1);
            }
        }
    }

    /// <summary>Opens the directory that an entry goes into, resolved inside the root; makes what is missing.</summary>
    private SafeFileHandle OpenParent(ReadOnlySpan<byte[]> parts, out ulong inode)
    {
        byte[] path = LayerPath.Join(parts);
        string key = Encoding.Latin1.GetString(path);
        if (key != _parentPath)
        {
            ForgetParent();
            // Where whiteouts are applied, every directory on the way is this layer's too, so each step is looked at.
            SafeFileHandle opened = OpenInRoot(path);
            if (opened.IsInvalid || Applied)
            {
                opened.Dispose();
                opened = MakeParents(parts);
            }

            _parent = opened;
            SysStat.statx_t status = DirectoryHandle.Status(opened);
            _parentInode = status.stx_ino;
            _isParentRoots = _isRoot && status.stx_gid == 0;
            _parentPath = key;

            // Where the layer has no entry of its own for it, what is made and removed in it does not change its time.
            if (_directories.TryAdd(_parentInode, (path, status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec)))
            {
                Remember(path.Length, DirectoryOverhead);
            }
        }

        inode = _parentInode;
        return _parent!;
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

                MarkWritten(inode, parts[i]);
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

    /// <summary>Opens the last part in the directory of the others, or makes it.</summary>
    private SafeFileHandle OpenNext(SafeFileHandle current, ulong inode, ReadOnlySpan<byte[]> parts)
    {
        // Only a link needs all of the path, for what it names is found from the root.
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

        MakeDirectory(current, inode, parts[^1], path);
        return DirectoryHandle.Open(current, parts[^1]);
    }

    /// <summary>Makes a directory that the archive has no entry for, yet.</summary>
    private void MakeDirectory(SafeFileHandle parent, ulong parentInode, byte[] name, byte[] path)
    {
        bool hidesLower = false;
        if (Find(parent, name) is { } existing)
        {
            hidesLower = IsWhiteout(existing);
            if (!hidesLower && (!Applied || WasWritten(parentInode, name)))
            {
                throw new InvalidDataException($"{LayerPath.Show(name)} above it is not a directory");
            }

            Clear(parent, parentInode, name);
        }

        Count(BlockBytes);
        Check.Result(SysStat.mkdirat(parent, name, ImplicitDirectoryMode), "mkdir");
        using SafeFileHandle directory = DirectoryHandle.Open(parent, name);
        if (!Applied && !hidesLower)
        {
            Remember(path.Length, DirectoryOverhead);
            _implied[Inode(directory)] = path;
        }

        Check.Result(SysStat.fchmod(directory, ImplicitDirectoryMode), "chmod");
        if (options.KeepOwners)
        {
            Check.Result(Unistd.fchown(directory, 0, 0), "chown");
        }

        if (hidesLower)
        {
            OpaqueDirectory.Mark(directory);
        }
    }

    /// <summary>Removes what is in an entry's place.</summary>
    private void Clear(SafeFileHandle parent, ulong parentInode, byte[] name)
    {
        if (Find(parent, name) is not { } existing)
        {
            return;
        }

        TreeRemover.Remove(parent, name, Forget);
        _written.GetValueOrDefault(parentInode)?.Remove(Encoding.Latin1.GetString(name));
        if (existing.Type is SysStat.S_IFDIR or SysStat.S_IFLNK)
        {
            // The path of the cached parent may have led through it. The handle itself stays good for this entry: it cannot be below what
            // was removed in it.
            _parentPath = null;
        }
    }

    private void Forget(ulong directoryInode)
    {
        _written.Remove(directoryInode);
        _directories.Remove(directoryInode);
        _pruned.Remove(directoryInode);
        _implied.Remove(directoryInode);
    }

    private void ForgetParent()
    {
        _parent?.Dispose();
        _parent = null;
        _parentPath = null;
    }

    private void MarkWritten(ulong parentInode, byte[] name)
    {
        if (!Applied)
        {
            return;
        }

        if (!_written.TryGetValue(parentInode, out HashSet<string>? names))
        {
            _written[parentInode] = names = new(StringComparer.Ordinal);
        }

        if (names.Add(Encoding.Latin1.GetString(name)))
        {
            Remember(2 * name.Length, NameOverhead);
        }
    }

    private void Remember(int bytes, int overhead)
    {
        if ((_nameBytes += bytes + overhead) > options.MaxNameBytes)
        {
            throw new InvalidDataException($"the names of the layer's files and directories are together longer than {options.MaxNameBytes} bytes");
        }

        options.Names?.Grow(_nameBytes);
    }

    private bool WasWritten(ulong parentInode, byte[] name) =>
        _written.TryGetValue(parentInode, out HashSet<string>? names) && names.Contains(Encoding.Latin1.GetString(name));

    private void Count(long bytes)
    {
        if (++_entries > options.MaxEntries)
        {
            throw new InvalidDataException($"the layer has more than {options.MaxEntries} files, directories and links");
        }

        if (bytes > options.MaxBytes - _bytes)
        {
            throw new InvalidDataException($"the files of the layer have more than {options.MaxBytes} bytes");
        }

        long blocks = (bytes + BlockBytes - 1) / BlockBytes * BlockBytes;
        _bytes += blocks;
        options.Budget?.TakeEntry(blocks);
    }

    private void SetOwnerAndMode(SafeFileHandle file, LayerEntry entry, uint unprivilegedMode, bool isOurs)
    {
        // In this order: a change of owner takes setuid bits and capabilities away (chown(2)).
        uint mode = options.KeepSetId || entry.Type != LayerEntryType.File ? entry.Mode : entry.Mode & ~SetIdBits;
        if (options.KeepOwners)
        {
            if (!isOurs || entry.Uid != 0 || entry.Gid != 0)
            {
                Check.Result(Unistd.fchown(file, entry.Uid, entry.Gid), "chown");
            }
        }
        else
        {
            mode |= unprivilegedMode;
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
                // Best effort: a file system may have none, or no room for this one.
                _ = SysXattr.fsetxattr(file, name, value, (nuint)value.Length, 0);
            }
        }
    }

    private static void SetOpaque(SafeFileHandle parent, byte[] name)
    {
        using SafeFileHandle directory = DirectoryHandle.Open(parent, name);
        OpaqueDirectory.Mark(directory);
    }

    private static unsafe void SetTimes(SysStat.timespec_t* times, long seconds, long nanoseconds)
    {
        times[0] = new() { tv_nsec = SysStat.UTIME_OMIT };
        times[1] = new() { tv_sec = seconds, tv_nsec = nanoseconds };
    }

    // A layer's own devices are left out, so a device in the tree is a whiteout that was made here.
    private static bool IsWhiteout(SysStat.statx_t status) => status.Type == SysStat.S_IFCHR;

    private static SysStat.statx_t? Find(SafeFileHandle parent, byte[] name)
    {
        if (SysStat.statx(parent, name, Fcntl.AT_SYMLINK_NOFOLLOW, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status) == 0)
        {
            return status;
        }

        int errno = Marshal.GetLastPInvokeError();
        return errno == Errno.ENOENT ? null : throw new NativeException("statx", errno, null);
    }

    private static SafeFileHandle CreateFile(SafeFileHandle parent, byte[] name) => Fcntl.openat(
        parent, name, Fcntl.O_WRONLY | Fcntl.O_CREAT | Fcntl.O_EXCL | Fcntl.O_NOFOLLOW | Fcntl.O_CLOEXEC, 0x180);

    private static ulong Inode(SafeFileHandle directory) => DirectoryHandle.Status(directory).stx_ino;
}

/// <summary>Questions about the parts of a name.</summary>
file static class Parts
{
    public static bool ContainsAnyWhiteout(this Span<byte[]> parts)
    {
        foreach (byte[] part in parts)
        {
            if (part.AsSpan().StartsWith(".wh."u8))
            {
                return true;
            }
        }

        return false;
    }
}
