using System.Buffers;
using System.Buffers.Binary;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Images;

/// <summary>
/// Writes a tree into one file with the file system EROFS, without compression, inline data and extended attributes: what every reader of it
/// can map as it is. (Linux, Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h.)
/// </summary>
/// <remarks>
/// <code>
/// block 0          the superblock, at byte 1024
/// from block 1     inodes of 64 bytes; the number of the first one is 0
/// after these      directories and targets of symbolic links, then the content of files; each begins at a block
/// </code>
/// </remarks>
internal sealed class ErofsWriter : IDisposable
{
    private const int BlockBits = 12;
    private const int Block = 1 << BlockBits;
    private const int SuperblockOffset = 1024;
    private const uint Magic = 0xE0F5E1E2;
    private const int InodeSize = 64;
    private const int SlotBits = 5;
    private const int EntrySize = 12;
    private const ushort Extended = 1;
    private const int MostDepth = 100;
    private const int MostNodes = 500_000;
    private const int MostTarget = 4096;
    private const int CopyBytes = 1 << 20;
    private static readonly byte[] Dot = "."u8.ToArray();
    private static readonly byte[] DotDot = ".."u8.ToArray();
    private readonly SafeFileHandle _file;
    private readonly long _maxBytes;
    private readonly CancellationToken _cancellationToken;
    private readonly List<Node> _nodes = [];
    private readonly Dictionary<(uint Major, uint Minor, ulong Inode), Node> _linked = [];
    private readonly byte[] _buffer = ArrayPool<byte>.Shared.Rent(CopyBytes);
    private uint _nextBlock;

    private ErofsWriter(SafeFileHandle file, long maxBytes, CancellationToken cancellationToken)
    {
        _file = file;
        _maxBytes = maxBytes;
        _cancellationToken = cancellationToken;
    }

    /// <summary>Writes a tree that does not change meanwhile. Devices, FIFOs and sockets are left out.</summary>
    /// <param name="root">The directory.</param>
    /// <param name="target">The file; it must not exist.</param>
    /// <param name="maxBytes">The most that it may have.</param>
    /// <param name="cancellationToken">Gives up; what was written is the caller's to remove.</param>
    /// <exception cref="InvalidDataException">The tree is too large, too deep, or of too many files.</exception>
    /// <exception cref="IOException">It cannot be read or written.</exception>
    public static void Write(string root, string target, long maxBytes, CancellationToken cancellationToken)
    {
        using SafeFileHandle file = File.OpenHandle(target, FileMode.CreateNew, FileAccess.Write, FileShare.None);
        using var writer = new ErofsWriter(file, maxBytes, cancellationToken);
        using SafeFileHandle top = ImageDirectory.OpenDirectory(root);
        Node tree = writer.Look(top);
        writer.Place();
        writer.WriteMetadata(tree);
        writer.WriteFiles(tree, top);
    }

    /// <inheritdoc/>
    public void Dispose() => ArrayPool<byte>.Shared.Return(_buffer);

    private Node Look(SafeFileHandle top)
    {
        Check.Result(SysStat.statx(top, "\0"u8, Fcntl.AT_EMPTY_PATH, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status), "statx");
        var root = new Node(status, (ulong)(_nodes.Count * InodeSize) >> SlotBits);
        _nodes.Add(root);
        LookBelow(root, root, top, depth: 0);
        return root;
    }

    private void LookBelow(Node directory, Node parent, SafeFileHandle handle, int depth)
    {
        if (depth > MostDepth)
        {
            throw new InvalidDataException($"it has directories more than {MostDepth} deep");
        }

        List<Entry> entries = [new(Dot, directory), new(DotDot, parent)];
        foreach (byte[] name in Dirent.ReadNames(handle))
        {
            _cancellationToken.ThrowIfCancellationRequested();
            Check.Result(SysStat.statx(handle, name, Fcntl.AT_SYMLINK_NOFOLLOW, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status), "statx");
            if (status.Type is not (SysStat.S_IFREG or SysStat.S_IFDIR or SysStat.S_IFLNK))
            {
                continue;
            }

            (uint, uint, ulong) identity = (status.stx_dev_major, status.stx_dev_minor, status.stx_ino);
            if (status.Type == SysStat.S_IFDIR || status.stx_nlink == 1 || !_linked.TryGetValue(identity, out Node? node))
            {
                if (_nodes.Count >= MostNodes)
                {
                    throw new InvalidDataException($"it has more than {MostNodes} files");
                }

                node = new Node(status, (ulong)(_nodes.Count * InodeSize) >> SlotBits) { Links = 0 };
                _nodes.Add(node);
                if (status.Type == SysStat.S_IFLNK)
                {
                    node.Data = ReadLink(handle, name);
                }
                else if (status.Type == SysStat.S_IFDIR)
                {
                    node.Links = 1;
                    directory.Links++;
                    using SafeFileHandle below = Open(handle, name, Fcntl.O_DIRECTORY);
                    LookBelow(node, directory, below, depth + 1);
                }
                else if (status.stx_nlink > 1)
                {
                    _linked[identity] = node;
                }
            }

            node.Links++;
            entries.Add(new(name[..^1], node));
        }

        entries.Sort(static (one, other) => one.Name.AsSpan().SequenceCompareTo(other.Name));
        directory.Entries = entries;
        directory.Data = Pack(entries);
    }

    // Entries and then their names, as many as go into each block.
    private static byte[] Pack(List<Entry> entries)
    {
        using var data = new MemoryStream();
        Span<byte> block = stackalloc byte[Block];
        for (int first = 0; first < entries.Count;)
        {
            int used = 0;
            int count = 0;
            while (first + count < entries.Count && used + EntrySize + entries[first + count].Name.Length <= Block)
            {
                used += EntrySize + entries[first + count].Name.Length;
                count++;
            }

            block.Clear();
            int nameAt = count * EntrySize;
            for (int i = 0; i < count; i++)
            {
                Entry entry = entries[first + i];
                Span<byte> head = block.Slice(i * EntrySize, EntrySize);
                BinaryPrimitives.WriteUInt64LittleEndian(head, entry.Node.Number);
                BinaryPrimitives.WriteUInt16LittleEndian(head[8..], (ushort)nameAt);
                head[10] = entry.Node.Type switch { SysStat.S_IFREG => 1, SysStat.S_IFDIR => 2, _ => 7 };
                entry.Name.CopyTo(block[nameAt..]);
                nameAt += entry.Name.Length;
            }

            first += count;
            data.Write(first < entries.Count ? block : block[..used]);
        }

        return data.ToArray();
    }

    private void Place()
    {
        _nextBlock = 1 + Blocks((long)_nodes.Count * InodeSize);
        foreach (Node node in _nodes.Where(node => node.Data is not null))
        {
            node.Size = (ulong)node.Data!.Length;
            Place(node);
        }

        foreach (Node node in _nodes.Where(node => node.Data is null))
        {
            Place(node);
        }
    }

    private void Place(Node node)
    {
        node.Block = _nextBlock;
        if (node.Size > (ulong)_maxBytes || ((ulong)_nextBlock << BlockBits) + node.Size > (ulong)_maxBytes)
        {
            throw new InvalidDataException($"it has more than {_maxBytes} bytes");
        }

        _nextBlock += Blocks((long)node.Size);
    }

    private void WriteMetadata(Node root)
    {
        // Its full length at once: what a write would find no room for is known before.
        RandomAccess.SetLength(_file, (long)_nextBlock << BlockBits);
        byte[] superblock = new byte[128];
        BinaryPrimitives.WriteUInt32LittleEndian(superblock, Magic);
        superblock[12] = BlockBits;
        BinaryPrimitives.WriteUInt16LittleEndian(superblock.AsSpan(14), (ushort)root.Number);
        BinaryPrimitives.WriteUInt64LittleEndian(superblock.AsSpan(16), (ulong)_nodes.Count);
        BinaryPrimitives.WriteUInt32LittleEndian(superblock.AsSpan(36), _nextBlock);
        BinaryPrimitives.WriteUInt32LittleEndian(superblock.AsSpan(40), 1);
        RandomAccess.Write(_file, superblock, SuperblockOffset);

        byte[] inodes = new byte[_nodes.Count * InodeSize];
        for (int i = 0; i < _nodes.Count; i++)
        {
            _nodes[i].WriteTo(inodes.AsSpan(i * InodeSize, InodeSize), (uint)(i + 1));
        }

        RandomAccess.Write(_file, inodes, Block);
        foreach (Node node in _nodes.Where(node => node.Data is not null))
        {
            RandomAccess.Write(_file, node.Data, (long)node.Block << BlockBits);
        }
    }

    private void WriteFiles(Node directory, SafeFileHandle handle)
    {
        foreach ((byte[] name, Node node) in directory.Entries!)
        {
            _cancellationToken.ThrowIfCancellationRequested();
            if (name.AsSpan().SequenceEqual(Dot) || name.AsSpan().SequenceEqual(DotDot))
            {
                continue;
            }

            byte[] path = [.. name, 0];
            if (node.Type == SysStat.S_IFDIR)
            {
                using SafeFileHandle below = Open(handle, path, Fcntl.O_DIRECTORY);
                WriteFiles(node, below);
            }
            else if (node.Type == SysStat.S_IFREG && node.Size > 0 && !node.IsWritten)
            {
                node.IsWritten = true;
                using SafeFileHandle content = Open(handle, path, 0);
                Copy(content, node);
            }
        }
    }

    private void Copy(SafeFileHandle content, Node node)
    {
        long left = (long)node.Size;
        for (long at = 0; left > 0;)
        {
            _cancellationToken.ThrowIfCancellationRequested();
            int read = RandomAccess.Read(content, _buffer.AsSpan(0, (int)Math.Min(CopyBytes, left)), at);
            if (read == 0)
            {
                throw new InvalidDataException("a file of it became shorter");
            }

            // What is empty stays a hole.
            if (_buffer.AsSpan(0, read).ContainsAnyExcept((byte)0))
            {
                RandomAccess.Write(_file, _buffer.AsSpan(0, read), ((long)node.Block << BlockBits) + at);
            }

            at += read;
            left -= read;
        }
    }

    private static unsafe byte[] ReadLink(SafeFileHandle directory, byte[] name)
    {
        byte* target = stackalloc byte[MostTarget];
        nint length = Unistd.readlinkat(directory, name, target, MostTarget);
        Check.Result(length, "readlink");
        return new ReadOnlySpan<byte>(target, (int)length).ToArray();
    }

    private static SafeFileHandle Open(SafeFileHandle directory, ReadOnlySpan<byte> name, int flags)
    {
        SafeFileHandle handle = Fcntl.openat(directory, name, Fcntl.O_RDONLY | Fcntl.O_NOFOLLOW | Fcntl.O_NONBLOCK | Fcntl.O_CLOEXEC | flags, 0);
        Check.Result(handle.IsInvalid ? -1 : 0, "open");
        return handle;
    }

    private static uint Blocks(long bytes) => (uint)((bytes + Block - 1) >> BlockBits);

    private readonly record struct Entry(byte[] Name, Node Node);

    private sealed class Node(SysStat.statx_t status, ulong number)
    {
        public ulong Number { get; } = number;

        public ushort Type => status.Type;

        public uint Links { get; set; } = 2;

        public ulong Size { get; set; } = status.stx_size;

        public uint Block { get; set; }

        /// <summary>What a directory or a symbolic link has; the content of files is read when it is written.</summary>
        public byte[]? Data { get; set; }

        public List<Entry>? Entries { get; set; }

        public bool IsWritten { get; set; }

        public void WriteTo(Span<byte> inode, uint sequence)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(inode, Extended);
            BinaryPrimitives.WriteUInt16LittleEndian(inode[4..], status.stx_mode);
            BinaryPrimitives.WriteUInt64LittleEndian(inode[8..], Size);
            BinaryPrimitives.WriteUInt32LittleEndian(inode[16..], Block);
            BinaryPrimitives.WriteUInt32LittleEndian(inode[20..], sequence);
            BinaryPrimitives.WriteUInt32LittleEndian(inode[24..], status.stx_uid);
            BinaryPrimitives.WriteUInt32LittleEndian(inode[28..], status.stx_gid);
            BinaryPrimitives.WriteInt64LittleEndian(inode[32..], status.stx_mtime.tv_sec);
            BinaryPrimitives.WriteUInt32LittleEndian(inode[40..], status.stx_mtime.tv_nsec);
            BinaryPrimitives.WriteUInt32LittleEndian(inode[44..], Links);
        }
    }
}
