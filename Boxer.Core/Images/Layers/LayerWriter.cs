using System.Runtime.InteropServices;
using Boxer.Common;
using Boxer.Linux;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Images.Layers;

/// <summary>Writes the entries of one layer below an open directory.</summary>
internal sealed class LayerWriter : IDisposable
{
    // A longer target of a symbolic link takes a block of its own: ext4, xfs and btrfs keep at least this many bytes in the inode.
    private const int MaxInlineTarget = 59;

    private readonly SafeFileHandle _root;
    private readonly LayerExtractionOptions _options;
    private readonly LayerRecord _record;
    private readonly LayerDirectories _directories;
    private readonly LayerWhiteouts _whiteouts;
    private readonly EntryAttributes _attributes;
    private bool _isFileRoots;

    /// <summary>Creates a writer.</summary>
    /// <param name="root">The directory; not disposed.</param>
    /// <param name="options">How the layer is unpacked.</param>
    public LayerWriter(SafeFileHandle root, LayerExtractionOptions options)
    {
        _root = root;
        _options = options;
        _record = new(options);
        _directories = new(root, options, _record);
        _whiteouts = new(options, _directories, _record);
        _attributes = new(options);
    }

    /// <summary>Writes an entry.</summary>
    /// <param name="entry">The entry.</param>
    /// <returns>For a file, the new file: write its content, and then call <see cref="FinishFile"/>. Otherwise <see langword="null"/>.</returns>
    /// <exception cref="InvalidDataException">The entry is malformed, rejected, or beyond a limit.</exception>
    /// <exception cref="IOException">The entry cannot be written.</exception>
    public SafeFileHandle? Write(LayerEntry entry)
    {
        byte[][] parts = LayerPath.Split(entry.Name);
        if (parts.Length == 0)
        {
            WriteRoot(entry);
            return null;
        }

        if (parts.Any(LayerWhiteouts.IsReserved))
        {
            return null;
        }

        if (LayerWhiteouts.HasWhiteout(parts.AsSpan(..^1)))
        {
            throw new InvalidDataException("a whiteout is no directory");
        }

        byte[] name = parts[^1];
        if (LayerWhiteouts.IsWhiteout(name))
        {
            _record.Count(0);
            _whiteouts.Write(parts.AsSpan(..^1), name);
            return null;
        }

        if (entry.Type is LayerEntryType.CharacterDevice or LayerEntryType.BlockDevice or LayerEntryType.Fifo)
        {
            return _options.SpecialFiles == SpecialFilePolicy.Skip ? null : throw new InvalidDataException("it is a device or FIFO");
        }

        _record.Count(DiskBytes(entry));
        ParentDirectory parent = _directories.OpenParent(parts.AsSpan(..^1));
        switch (entry.Type)
        {
            case LayerEntryType.Directory:
                WriteDirectory(parent, name, LayerPath.Join(parts), entry);
                return null;
            case LayerEntryType.SymbolicLink:
                WriteSymbolicLink(parent, name, entry);
                return null;
            case LayerEntryType.HardLink:
                WriteHardLink(parent, name, entry);
                return null;
            default:
                return WriteFile(parent, name);
        }
    }

    /// <summary>Sets owner, mode, attributes and time of a file whose content is complete.</summary>
    /// <param name="file">The file that <see cref="Write"/> returned last.</param>
    /// <param name="entry">Its entry.</param>
    public void FinishFile(SafeFileHandle file, LayerEntry entry)
    {
        _attributes.Set(file, entry, EntryAttributes.FilePermissions, _isFileRoots);
        EntryAttributes.SetTime(file, entry.ModifiedSeconds, entry.ModifiedNanoseconds);
    }

    /// <summary>Sets the times of all directories, after the last entry.</summary>
    public void Finish()
    {
        foreach ((ulong inode, DirectoryTime time) in _record.Directories)
        {
            // A later entry may have replaced the directory: then its time does not apply.
            using SafeFileHandle directory = _directories.OpenInRoot(time.Path);
            if (!directory.IsInvalid && LayerDirectories.Inode(directory) == inode)
            {
                EntryAttributes.SetTime(directory, time.Seconds, time.Nanoseconds);
            }
        }
    }

    /// <summary>Gets the directories without an entry in the archive; see <see cref="ExtractedLayer.ImpliedDirectories"/>.</summary>
    public IReadOnlyList<ReadOnlyMemory<byte>> ImpliedDirectories()
    {
        var implied = new List<ReadOnlyMemory<byte>>();
        foreach ((ulong inode, byte[] path) in _record.Implied)
        {
            // A path through a link is not the directory's own.
            using SafeFileHandle directory = _directories.OpenInRoot(path, Fcntl.RESOLVE_NO_SYMLINKS);
            if (!directory.IsInvalid && LayerDirectories.Inode(directory) == inode)
            {
                implied.Add(path.AsMemory(0, path.Length - 1));
            }
        }

        return implied;
    }

    /// <inheritdoc/>
    public void Dispose() => _directories.Dispose();

    private static long DiskBytes(LayerEntry entry) => entry.Type switch
    {
        LayerEntryType.Directory => LayerRecord.BlockBytes,
        LayerEntryType.SymbolicLink => entry.LinkName.Length > MaxInlineTarget ? LayerRecord.BlockBytes : 0,
        LayerEntryType.File => entry.Size + (entry.ExtendedAttributes.Count > 0 ? LayerRecord.BlockBytes : 0),
        _ => 0,
    };

    private void WriteRoot(LayerEntry entry)
    {
        if (entry.Type != LayerEntryType.Directory)
        {
            throw new InvalidDataException("the root must be a directory");
        }

        _attributes.Set(_root, entry, EntryAttributes.DirectoryPermissions, isOwnedByRoot: false);

        // The root may be the open parent, whose group has changed.
        _directories.CloseParent();
        _record.SetRoot(LayerDirectories.Inode(_root), new(LayerPath.Join([]), entry.ModifiedSeconds, entry.ModifiedNanoseconds));
    }

    private void WriteDirectory(ParentDirectory parent, byte[] name, byte[] path, LayerEntry entry)
    {
        bool isNew = SysStat.mkdirat(parent.Handle, name, LayerDirectories.ImpliedMode) == 0;
        if (!isNew && Marshal.GetLastPInvokeError() is var errno and not Errno.EEXIST)
        {
            throw new NativeException("mkdir", errno, null);
        }

        bool isReplaced = !isNew && LayerDirectories.Find(parent.Handle, name) is not { Type: SysStat.S_IFDIR };
        if (isReplaced)
        {
            _directories.Clear(parent, name);
            Check.Result(SysStat.mkdirat(parent.Handle, name, LayerDirectories.ImpliedMode), "mkdir");
        }

        using SafeFileHandle directory = DirectoryHandle.Open(parent.Handle, name);
        if (isReplaced && _options.Whiteouts != WhiteoutFormat.Applied)
        {
            // The replaced entry of this layer, a file or a whiteout, hid the entries of lower layers.
            OpaqueDirectory.Mark(directory);
        }

        _attributes.Set(directory, entry, EntryAttributes.DirectoryPermissions, isOwnedByRoot: isNew && parent.IsRoots);
        _record.SetDirectory(LayerDirectories.Inode(directory), new(path, entry.ModifiedSeconds, entry.ModifiedNanoseconds));
        _record.AddEntry(parent.Inode, name);
    }

    private void WriteSymbolicLink(ParentDirectory parent, byte[] name, LayerEntry entry)
    {
        if (entry.LinkName.Length is 0 or > CleanPath.MaxBytes)
        {
            throw new InvalidDataException("the target of a symbolic link is empty or too long");
        }

        byte[] target = [.. entry.LinkName, 0];
        if (Unistd.symlinkat(target, parent.Handle, name) != 0)
        {
            if (Marshal.GetLastPInvokeError() is var errno and not Errno.EEXIST)
            {
                throw new NativeException("symlink", errno, null);
            }

            _directories.Clear(parent, name);
            Check.Result(Unistd.symlinkat(target, parent.Handle, name), "symlink");
        }

        _attributes.SetOfLink(parent.Handle, name, entry);
        _record.AddEntry(parent.Inode, name);
    }

    private void WriteHardLink(ParentDirectory parent, byte[] name, LayerEntry entry)
    {
        byte[][] target = LayerPath.Split(entry.LinkName);
        if (target.Length == 0 || LayerWhiteouts.HasWhiteout(target))
        {
            throw new InvalidDataException("a hard link must name a file");
        }

        using SafeFileHandle targetParent = _directories.OpenInRoot(LayerPath.Join(target.AsSpan(..^1)));
        if (targetParent.IsInvalid
            || LayerDirectories.Find(targetParent, target[^1]) is not { Type: SysStat.S_IFREG or SysStat.S_IFLNK } status)
        {
            throw new InvalidDataException($"the hard link's target {LayerPath.Show(entry.LinkName)} is not a file in this layer");
        }

        if (LayerDirectories.Find(parent.Handle, name) is { } existing && existing.stx_ino == status.stx_ino)
        {
            // Both names are the same file already. Clearing the way would remove the target.
            _record.AddEntry(parent.Inode, name);
            return;
        }

        // Clearing the way may remove the target, if it is below: then linkat fails.
        _directories.Clear(parent, name);
        if (Unistd.linkat(targetParent, target[^1], parent.Handle, name, 0) != 0)
        {
            int errno = Marshal.GetLastPInvokeError();
            throw errno == Errno.ENOENT
                ? new InvalidDataException($"the hard link's target {LayerPath.Show(entry.LinkName)} is not a file in this layer")
                : new NativeException("link", errno, null);
        }

        _record.AddEntry(parent.Inode, name);
    }

    private SafeFileHandle WriteFile(ParentDirectory parent, byte[] name)
    {
        SafeFileHandle file = CreateFile(parent.Handle, name);
        if (file.IsInvalid && Marshal.GetLastPInvokeError() == Errno.EEXIST)
        {
            _directories.Clear(parent, name);
            file = CreateFile(parent.Handle, name);
        }

        Check.Result(file.IsInvalid ? -1 : 0, "open");
        _record.AddEntry(parent.Inode, name);
        _isFileRoots = parent.IsRoots;
        return file;
    }

    private static SafeFileHandle CreateFile(SafeFileHandle parent, byte[] name) => Fcntl.openat(
        parent, name, Fcntl.O_WRONLY | Fcntl.O_CREAT | Fcntl.O_EXCL | Fcntl.O_NOFOLLOW | Fcntl.O_CLOEXEC, 0x180);
}
