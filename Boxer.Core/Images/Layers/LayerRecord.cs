using System.Text;

namespace Boxer.Images.Layers;

/// <summary>Records the entries that one layer has written so far, and holds the layer to its limits.</summary>
/// <param name="options">Limits of the layer, and how its whiteouts are unpacked.</param>
internal sealed class LayerRecord(LayerExtractionOptions options)
{
    /// <summary>Minimum bytes of a directory on the disk.</summary>
    public const long BlockBytes = 4096;

    // Memory of a name in a set, in bytes, beside its characters.
    private const int NameOverhead = 64;

    // Memory of a directory, in bytes, beside its path: an array, an entry among the directories, and a set of names or an entry among the implied
    // directories.
    private const int DirectoryOverhead = 320;

    // Entries by directory and name, so that the layer's own whiteouts spare them. Only needed where whiteouts are applied.
    private readonly Dictionary<ulong, HashSet<string>> _written = [];

    // Times of directories are set at the end, because writing entries into a directory changes its time.
    private readonly Dictionary<ulong, DirectoryTime> _directories = [];

    // Directories without entries of lower layers, where another opaque whiteout has nothing to remove.
    private readonly HashSet<ulong> _pruned = [];

    private readonly Dictionary<ulong, byte[]> _implied = [];
    private int _entries;
    private long _bytes;
    private long _nameBytes;

    /// <summary>Modification times of directories, by inode.</summary>
    public IReadOnlyDictionary<ulong, DirectoryTime> Directories => _directories;

    /// <summary>Paths of directories without an entry in the archive, by inode. Each ends with NUL.</summary>
    public IReadOnlyDictionary<ulong, byte[]> Implied => _implied;

    /// <summary>Counts an entry before it is written.</summary>
    /// <param name="bytes">Bytes that it takes on the disk.</param>
    /// <exception cref="InvalidDataException">The layer or the image exceeds a limit.</exception>
    /// <exception cref="IOException">The disk has not enough free space.</exception>
    public void Count(long bytes)
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

    /// <summary>Records that the layer has written an entry.</summary>
    /// <param name="parentInode">Inode of the entry's directory.</param>
    /// <param name="name">Name of the entry.</param>
    public void AddEntry(ulong parentInode, byte[] name)
    {
        if (options.Whiteouts != WhiteoutFormat.Applied)
        {
            return;
        }

        if (!_written.TryGetValue(parentInode, out HashSet<string>? names))
        {
            _written[parentInode] = names = new(StringComparer.Ordinal);
        }

        if (names.Add(Encoding.Latin1.GetString(name)))
        {
            TakeMemory(2 * name.Length, NameOverhead);
        }
    }

    /// <summary>Removes the record of an entry that was removed.</summary>
    /// <param name="parentInode">Inode of the entry's directory.</param>
    /// <param name="name">Name of the entry.</param>
    public void RemoveEntry(ulong parentInode, byte[] name) => _written.GetValueOrDefault(parentInode)?.Remove(Encoding.Latin1.GetString(name));

    /// <summary>Gets whether the layer has written an entry. Only known where whiteouts are applied.</summary>
    /// <param name="parentInode">Inode of the entry's directory.</param>
    /// <param name="name">Name of the entry.</param>
    public bool HasEntry(ulong parentInode, byte[] name) =>
        _written.TryGetValue(parentInode, out HashSet<string>? names) && names.Contains(Encoding.Latin1.GetString(name));

    /// <summary>Records the root directory, whose entry the layer has.</summary>
    /// <param name="inode">Inode of the root directory.</param>
    /// <param name="time">Its path and time.</param>
    public void SetRoot(ulong inode, DirectoryTime time) => _directories[inode] = time;

    /// <summary>Records a directory that the layer has an entry for.</summary>
    /// <param name="inode">Inode of the directory.</param>
    /// <param name="time">Its path and time.</param>
    public void SetDirectory(ulong inode, DirectoryTime time)
    {
        TakeMemory(time.Path.Length, DirectoryOverhead);
        _directories[inode] = time;
        _implied.Remove(inode);
    }

    /// <summary>Records the present time of a directory, unless a time is recorded already.</summary>
    /// <param name="inode">Inode of the directory.</param>
    /// <param name="time">Its path and time.</param>
    public void KeepTime(ulong inode, DirectoryTime time)
    {
        if (_directories.TryAdd(inode, time))
        {
            TakeMemory(time.Path.Length, DirectoryOverhead);
        }
    }

    /// <summary>Records a directory that the layer has no entry for, yet.</summary>
    /// <param name="inode">Inode of the directory.</param>
    /// <param name="path">Its path, which ends with NUL.</param>
    public void AddImplied(ulong inode, byte[] path)
    {
        TakeMemory(path.Length, DirectoryOverhead);
        _implied[inode] = path;
    }

    /// <summary>Removes an implied directory that hides lower layers: their owner and mode for it no longer matter.</summary>
    /// <param name="inode">Inode of the directory.</param>
    public void RemoveImplied(ulong inode) => _implied.Remove(inode);

    /// <summary>Records that all entries of lower layers in a directory are removed.</summary>
    /// <param name="inode">Inode of the directory.</param>
    /// <returns><see langword="false"/> if they were removed before.</returns>
    public bool TryAddPruned(ulong inode) => _pruned.Add(inode);

    /// <summary>Removes all records of a directory that was removed.</summary>
    /// <param name="inode">Inode of the directory.</param>
    public void RemoveDirectory(ulong inode)
    {
        _written.Remove(inode);
        _directories.Remove(inode);
        _pruned.Remove(inode);
        _implied.Remove(inode);
    }

    private void TakeMemory(int bytes, int overhead)
    {
        if ((_nameBytes += bytes + overhead) > options.MaxNameBytes)
        {
            throw new InvalidDataException($"the names of the layer's files and directories are together longer than {options.MaxNameBytes} bytes");
        }

        options.Names?.Grow(_nameBytes);
    }
}

/// <summary>The modification time of a directory.</summary>
/// <param name="Path">Its path, which ends with NUL.</param>
/// <param name="Seconds">Seconds since 1970.</param>
/// <param name="Nanoseconds">Nanoseconds after <paramref name="Seconds"/>.</param>
internal readonly record struct DirectoryTime(byte[] Path, long Seconds, long Nanoseconds);
