using System.Globalization;
using Boxer.Common;

namespace Boxer.Images.Layers;

/// <summary>
/// Reads the tar formats that layers come in: ustar, PAX, GNU and the old one before them.
/// </summary>
/// <remarks>
/// System.Formats.Tar is not used, for three reasons: it decodes names and attribute values as UTF-8, which destroys
/// security.capability values and names in other encodings; it reads extended headers of up to 2 GiB into memory; and it refuses or
/// passes on malformed headers by rules that are not stated.
/// </remarks>
/// <param name="archive">The archive; not disposed.</param>
internal sealed class LayerArchiveReader(Stream archive)
{
    private const int BlockSize = 512;

    // The same bound as Go's archive/tar, which the tools that build images use.
    private const int MaxExtendedHeaderBytes = 1024 * 1024;

    // Far beyond any real clock, and within what utimensat(2) takes.
    private const long MaxSeconds = 1L << 40;

    private readonly byte[] _buffer = new byte[128 * 1024];
    private readonly byte[] _block = new byte[BlockSize];
    private int _start;
    private int _end;
    private long _dataLeft;
    private int _padding;
    private long _filled;

    /// <summary>Whether the archive ended with the mark of its end.</summary>
    public bool HasEndMark { get; private set; }

    /// <summary>Whether no header was read to its end.</summary>
    public bool IsAtFirstHeader { get; private set; } = true;

    /// <summary>How far the archive was read: after an entry, where its content begins.</summary>
    public long Position => _filled - (_end - _start);

    /// <summary>Reads the next entry, skipping what is left of the last one's content.</summary>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The entry; <see langword="null"/> at the end of the archive.</returns>
    /// <exception cref="InvalidDataException">The archive is malformed or has a feature that layers may not have.</exception>
    public async ValueTask<LayerEntry?> ReadEntryAsync(CancellationToken cancellationToken)
    {
        var extended = new ExtendedHeader();
        long extendedBytes = 0;
        while (true)
        {
            await SkipDataAsync(cancellationToken).ConfigureAwait(false);
            int length = await ReadFullyAsync(_block, cancellationToken).ConfigureAwait(false);
            if (length == 0)
            {
                return null;
            }

            if (length == BlockSize && !_block.AsSpan().ContainsAnyExcept((byte)0))
            {
                // The mark is two blocks; where it is one, some tools read on and others do not.
                length = await ReadFullyAsync(_block, cancellationToken).ConfigureAwait(false);
                HasEndMark = true;
                return !_block.AsSpan(0, length).ContainsAnyExcept((byte)0) ? null : throw new InvalidDataException("a block of zeros is followed by more");
            }

            if (length < BlockSize)
            {
                throw new InvalidDataException("the archive ends within a header");
            }

            VerifyChecksum(_block);
            IsAtFirstHeader = false;
            byte type = _block[156];
            long size = Number(_block.AsSpan(124, 12), "size");
            if (type is (byte)'x' or (byte)'L' or (byte)'K' or (byte)'g' or (byte)'V' && size is >= 0 and <= MaxExtendedHeaderBytes && (extendedBytes += size) > MaxExtendedHeaderBytes)
            {
                throw new InvalidDataException($"the extended headers of an entry have more than {MaxExtendedHeaderBytes} bytes");
            }

            switch (type)
            {
                case (byte)'x':
                    // Of several the last one counts, and the long names of GNU count more than theirs: so Go's archive/tar has it.
                    extended = new() { LongName = extended.LongName, LongLinkName = extended.LongLinkName };
                    extended.Read(await ReadExtendedAsync(size, cancellationToken).ConfigureAwait(false));
                    break;
                case (byte)'L':
                    extended.LongName = CString(await ReadExtendedAsync(size, cancellationToken).ConfigureAwait(false));
                    break;
                case (byte)'K':
                    extended.LongLinkName = CString(await ReadExtendedAsync(size, cancellationToken).ConfigureAwait(false));
                    break;
                case (byte)'g' or (byte)'V':
                    // Global records (a commit's name, mostly) and volume labels say nothing about files.
                    _ = await ReadExtendedAsync(size, cancellationToken).ConfigureAwait(false);
                    break;
                default:
                    return await EntryAsync(type, extended, size, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Reads content of the current entry.</summary>
    /// <param name="most">How much at most.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>What was read, until the next call; empty at the end of the content.</returns>
    public async ValueTask<ReadOnlyMemory<byte>> ReadDataAsync(long most, CancellationToken cancellationToken)
    {
        if (_dataLeft == 0)
        {
            return default;
        }

        if (_start == _end)
        {
            await FillAsync(cancellationToken).ConfigureAwait(false);
            if (_start == _end)
            {
                throw new InvalidDataException("the archive ends within a file");
            }
        }

        int length = (int)Math.Min(Math.Min(_dataLeft, most), _end - _start);
        ReadOnlyMemory<byte> data = _buffer.AsMemory(_start, length);
        _start += length;
        _dataLeft -= length;
        return data;
    }

    /// <summary>Reads what follows the end-of-archive mark: it says nothing, but belongs to the digest.</summary>
    /// <param name="cancellationToken">Gives up.</param>
    public async ValueTask DrainAsync(CancellationToken cancellationToken)
    {
        do
        {
            await FillAsync(cancellationToken).ConfigureAwait(false);
        }
        while (_end > 0);
    }

    private async ValueTask<LayerEntry> EntryAsync(byte typeflag, ExtendedHeader extended, long size, CancellationToken cancellationToken)
    {
        byte[] name = CString(_block.AsSpan(0, 100));
        if (_block[345] != 0 && HasPrefix(_block))
        {
            name = [.. CString(_block.AsSpan(345, 155)), (byte)'/', .. name];
        }

        name = extended.Sparse.Name ?? extended.LongName ?? extended.Name ?? name;
        size = extended.Size ?? size;
        LayerEntryType type = typeflag switch
        {
            // The oldest archives have no other mark of directories. Whoever looks for it elsewhere takes bodies for headers, or the reverse.
            0 => name.AsSpan().EndsWith("/"u8) ? LayerEntryType.Directory : LayerEntryType.File,
            (byte)'0' or (byte)'7' => LayerEntryType.File,
            >= (byte)'1' and <= (byte)'6' => (LayerEntryType)typeflag,
            (byte)'S' => LayerEntryType.File,
            _ => throw new InvalidDataException($"entries of type 0x{typeflag:x2} are not supported"),
        };
        if (size < 0)
        {
            throw new InvalidDataException("an entry has a negative size");
        }

        if (size > SparseMap.MaxSize)
        {
            throw new InvalidDataException("an entry is larger than any disk");
        }

        byte[] linkName = extended.LongLinkName ?? extended.LinkName ?? CString(_block.AsSpan(157, 100));
        if (name.Length > CleanPath.MaxBytes || linkName.Length > CleanPath.MaxBytes)
        {
            throw new InvalidDataException($"a name is longer than {CleanPath.MaxBytes} bytes");
        }

        if (name.Contains((byte)0) || linkName.Contains((byte)0))
        {
            throw new InvalidDataException("a name has a NUL in it");
        }

        // Only files have content: Go's archive/tar ignores the size of the others too, and it is what wrote most layers.
        size = type == LayerEntryType.File ? size : 0;
        _dataLeft = size;
        _padding = (int)(-size & (BlockSize - 1));

        // What follows reads on, over the header.
        byte[] header = [.. _block];
        SparseMap? sparse = type != LayerEntryType.File ? null
            : typeflag == (byte)'S' ? await ReadOldSparseAsync(cancellationToken).ConfigureAwait(false)
            : extended.Sparse.IsInContent ? await ReadSparseOfContentAsync(extended.Sparse.RealSize, cancellationToken).ConfigureAwait(false)
            : extended.Sparse.ToMap();
        sparse?.Verify(_dataLeft);
        (long seconds, long nanoseconds) = extended.Modified ?? (Number(header.AsSpan(136, 12), "mtime"), 0);
        return new()
        {
            Type = type,
            Name = name,
            LinkName = linkName,
            Mode = (uint)(Number(header.AsSpan(100, 8), "mode") & 0xFFF),
            Uid = Id(extended.Uid ?? Number(header.AsSpan(108, 8), "uid")),
            Gid = Id(extended.Gid ?? Number(header.AsSpan(116, 8), "gid")),
            Size = sparse?.RealSize ?? size,
            Chunks = sparse?.Chunks,
            ModifiedSeconds = Math.Clamp(seconds, -MaxSeconds, MaxSeconds),
            ModifiedNanoseconds = nanoseconds,
            ExtendedAttributes = extended.Attributes,
        };
    }

    // GNU tar's own form: the map is in the header, and in blocks after it (GNU tar manual, "Old GNU Format").
    private async ValueTask<SparseMap> ReadOldSparseAsync(CancellationToken cancellationToken)
    {
        var chunks = new List<SparseChunk>();
        long realSize = Number(_block.AsSpan(483, 12), "real size");
        Add(_block.AsSpan(386, 4 * 24));
        for (bool more = _block[482] != 0; more;)
        {
            if (chunks.Count > SparseMap.MaxChunks || await ReadFullyAsync(_block, cancellationToken).ConfigureAwait(false) < BlockSize)
            {
                throw new InvalidDataException("the map of a sparse file is too long, or cut off");
            }

            Add(_block.AsSpan(0, 21 * 24));
            more = _block[504] != 0;
        }

        return new SparseMap(chunks, realSize);

        void Add(ReadOnlySpan<byte> entries)
        {
            for (; entries.Length > 0 && entries[0] != 0; entries = entries[24..])
            {
                chunks.Add(new(Number(entries[..12], "offset"), Number(entries[12..24], "length")));
            }
        }
    }

    // PAX format 1.0: the map is before the content, as decimal numbers in lines, up to a whole block.
    private async ValueTask<SparseMap> ReadSparseOfContentAsync(long realSize, CancellationToken cancellationToken)
    {
        var block = new byte[BlockSize];
        int at = BlockSize;
        long count = await NextAsync().ConfigureAwait(false);
        if (count > SparseMap.MaxChunks)
        {
            throw new InvalidDataException($"a sparse file has {count} parts; {SparseMap.MaxChunks} are allowed");
        }

        var chunks = new List<SparseChunk>((int)Math.Min(count, 1_024));
        for (long i = 0; i < count; i++)
        {
            chunks.Add(new(await NextAsync().ConfigureAwait(false), await NextAsync().ConfigureAwait(false)));
        }

        return new SparseMap(chunks, realSize);

        async ValueTask<long> NextAsync()
        {
            long value = -1;
            while (true)
            {
                if (at == BlockSize)
                {
                    if (_dataLeft < BlockSize || await ReadFullyAsync(block, cancellationToken).ConfigureAwait(false) < BlockSize)
                    {
                        throw new InvalidDataException("the map of a sparse file is cut off");
                    }

                    _dataLeft -= BlockSize;
                    at = 0;
                }

                byte character = block[at++];
                if (character == (byte)'\n' && value >= 0)
                {
                    return value;
                }

                if (character is < (byte)'0' or > (byte)'9' || value > SparseMap.MaxSize)
                {
                    throw new InvalidDataException("the map of a sparse file is malformed");
                }

                value = (Math.Max(value, 0) * 10) + (character - '0');
            }
        }
    }

    // The id -1 means "no change" to chown(2): a file would stay ours that was to be somebody's.
    private static uint Id(long id) =>
        id is >= 0 and < uint.MaxValue ? (uint)id : throw new InvalidDataException($"the owner {id} is no user or group id");

    private async ValueTask<byte[]> ReadExtendedAsync(long size, CancellationToken cancellationToken)
    {
        if (size is < 0 or > MaxExtendedHeaderBytes)
        {
            throw new InvalidDataException($"an extended header has {size} bytes; {MaxExtendedHeaderBytes} are allowed");
        }

        var content = new byte[size];
        if (await ReadFullyAsync(content, cancellationToken).ConfigureAwait(false) < size)
        {
            throw new InvalidDataException("the archive ends within an extended header");
        }

        _padding = (int)(-size & (BlockSize - 1));
        return content;
    }

    private async ValueTask SkipDataAsync(CancellationToken cancellationToken)
    {
        long left = _dataLeft + _padding;
        bool padding = _dataLeft == 0;
        _dataLeft = 0;
        _padding = 0;
        while (left > 0)
        {
            if (_start == _end)
            {
                // What is in a file need not be read to be skipped; whoever needs it sees whether it is there.
                if (archive.CanSeek && left > _buffer.Length)
                {
                    // Beyond the end some streams refuse to go.
                    long skipped = Math.Min(left, archive.Length - archive.Position);
                    archive.Seek(skipped, SeekOrigin.Current);
                    _filled += skipped;
                    return;
                }

                await FillAsync(cancellationToken).ConfigureAwait(false);
                if (_start == _end)
                {
                    // Some writers leave the padding of the last file out.
                    if (padding)
                    {
                        return;
                    }

                    throw new InvalidDataException("the archive ends within a file");
                }
            }

            int length = (int)Math.Min(left, _end - _start);
            _start += length;
            left -= length;
        }
    }

    private async ValueTask<int> ReadFullyAsync(Memory<byte> target, CancellationToken cancellationToken)
    {
        int done = 0;
        while (done < target.Length)
        {
            if (_start == _end)
            {
                await FillAsync(cancellationToken).ConfigureAwait(false);
                if (_start == _end)
                {
                    break;
                }
            }

            int length = Math.Min(target.Length - done, _end - _start);
            _buffer.AsSpan(_start, length).CopyTo(target.Span[done..]);
            _start += length;
            done += length;
        }

        return done;
    }

    private async ValueTask FillAsync(CancellationToken cancellationToken)
    {
        _start = 0;
        _end = await archive.ReadAsync(_buffer, cancellationToken).ConfigureAwait(false);
        _filled += _end;
    }

    private static byte[] CString(ReadOnlySpan<byte> field)
    {
        int length = field.IndexOf((byte)0);
        return (length < 0 ? field : field[..length]).ToArray();
    }

    // GNU's headers have times there. Go's archive/tar before 1.8 wrote prefixes into them too, so its readers take for one what is no time.
    private static bool HasPrefix(ReadOnlySpan<byte> block) =>
        block.Slice(257, 6).SequenceEqual("ustar\0"u8)
        || (block.Slice(257, 8).SequenceEqual("ustar  \0"u8)
            && !(IsNumber(block.Slice(345, 12)) && (block[357] == 0 || IsNumber(block.Slice(357, 12))))
            && System.Text.Ascii.IsValid(CString(block.Slice(345, 155))));

    private static bool IsNumber(ReadOnlySpan<byte> field) => (field[0] & 0x80) != 0 || !CString(field.Trim(" \0"u8)).AsSpan().ContainsAnyExceptInRange((byte)'0', (byte)'7');

    // Old writers summed signed bytes.
    private static void VerifyChecksum(ReadOnlySpan<byte> block)
    {
        long unsigned = 0;
        long signed = 0;
        for (int i = 0; i < BlockSize; i++)
        {
            byte value = i is >= 148 and < 156 ? (byte)' ' : block[i];
            unsigned += value;
            signed += (sbyte)value;
        }

        long expected = Number(block.Slice(148, 8), "checksum");
        if (expected != unsigned && expected != signed)
        {
            throw new InvalidDataException("a header has a wrong checksum: the archive is not a tar archive, or damaged");
        }
    }

    private static long Number(ReadOnlySpan<byte> field, string what)
    {
        if ((field[0] & 0x80) != 0)
        {
            return BinaryNumber(field, what);
        }

        field = field.Trim(" \0"u8);
        long value = 0;
        foreach (byte digit in field)
        {
            if (digit is < (byte)'0' or > (byte)'7')
            {
                // What follows the first NUL is not part of the number.
                return digit == 0 ? value : throw new InvalidDataException($"a header has a malformed {what}");
            }

            value = (value << 3) | (uint)(digit - '0');
        }

        return value;
    }

    // GNU's form for what does not fit: the first bit set, then a big-endian number in two's complement.
    private static long BinaryNumber(ReadOnlySpan<byte> field, string what)
    {
        bool negative = (field[0] & 0x40) != 0;
        long value = negative ? -1 : 0;
        for (int i = 0; i < field.Length; i++)
        {
            byte part = i > 0 ? field[i] : (byte)(negative ? field[0] | 0x80 : field[0] & 0x7F);
            if (value != (value << 8) >> 8)
            {
                throw new InvalidDataException($"a header has a {what} that is too large");
            }

            value = (value << 8) | part;
        }

        return value;
    }

    /// <summary>What extended headers say about the entry that follows them.</summary>
    private sealed class ExtendedHeader
    {
        private const string AttributePrefix = "SCHILY.xattr.";

        public byte[]? LongName { get; set => field = value is { Length: > 0 } ? value : null; }

        public byte[]? LongLinkName { get; set => field = value is { Length: > 0 } ? value : null; }

        public byte[]? Name { get; private set; }

        public byte[]? LinkName { get; private set; }

        public long? Size { get; private set; }

        public long? Uid { get; private set; }

        public long? Gid { get; private set; }

        public (long Seconds, long Nanoseconds)? Modified { get; private set; }

        public SparseRecords Sparse { get; } = new();

        public List<KeyValuePair<string, byte[]>> Attributes { get; } = [];

        /// <summary>Reads records of the form <c>length key=value\n</c> (pax(1)).</summary>
        /// <param name="content">The records.</param>
        public void Read(ReadOnlySpan<byte> content)
        {
            while (content.Length > 0)
            {
                int space = content.IndexOf((byte)' ');
                if (space is < 1 or > 10
                    || !int.TryParse(content[..space], NumberStyles.None, CultureInfo.InvariantCulture, out int length)
                    || length <= space + 1 || length > content.Length || content[length - 1] != (byte)'\n')
                {
                    throw new InvalidDataException("an extended header is malformed");
                }

                ReadOnlySpan<byte> record = content[(space + 1)..(length - 1)];
                int equals = record.IndexOf((byte)'=');
                if (equals < 1)
                {
                    throw new InvalidDataException("an extended header is malformed");
                }

                Set(UntrustedText.Decode(record[..equals]), record[(equals + 1)..]);
                content = content[length..];
            }
        }

        private void Set(string key, ReadOnlySpan<byte> value)
        {
            switch (key)
            {
                case "path":
                    Name = value.Length == 0 ? null : value.ToArray();
                    break;
                case "linkpath":
                    LinkName = value.Length == 0 ? null : value.ToArray();
                    break;
                case "size":
                    Size = Integer(key, value);
                    break;
                case "uid":
                    Uid = Integer(key, value);
                    break;
                case "gid":
                    Gid = Integer(key, value);
                    break;
                case "mtime":
                    Modified = Time(value);
                    break;
                default:
                    if (key.StartsWith(AttributePrefix, StringComparison.Ordinal))
                    {
                        Attributes.Add(new(key[AttributePrefix.Length..], value.ToArray()));
                    }
                    else if (key.StartsWith("GNU.sparse.", StringComparison.Ordinal))
                    {
                        Sparse.Set(key["GNU.sparse.".Length..], value);
                    }

                    break;
            }
        }

        private static long? Integer(string key, ReadOnlySpan<byte> value) =>
            value.Length == 0 ? null
            : long.TryParse(value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long number) ? number
            : throw new InvalidDataException($"an extended header has a malformed {key}");

        private static (long Seconds, long Nanoseconds)? Time(ReadOnlySpan<byte> value)
        {
            if (value.Length == 0)
            {
                return null;
            }

            int point = value.IndexOf((byte)'.');
            ReadOnlySpan<byte> fraction = point < 0 ? default : value[(point + 1)..];
            long nanoseconds = 0;
            for (int i = 0; i < 9; i++)
            {
                byte digit = i < fraction.Length ? fraction[i] : (byte)'0';
                if (digit is < (byte)'0' or > (byte)'9')
                {
                    throw new InvalidDataException("an extended header has a malformed mtime");
                }

                nanoseconds = (nanoseconds * 10) + (digit - '0');
            }

            if (!long.TryParse(point < 0 ? value : value[..point], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long seconds))
            {
                throw new InvalidDataException("an extended header has a malformed mtime");
            }

            return value[0] == (byte)'-' && nanoseconds > 0 ? (seconds - 1, 1_000_000_000 - nanoseconds) : (seconds, nanoseconds);
        }
    }
}
