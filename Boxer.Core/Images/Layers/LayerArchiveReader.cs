using System.Globalization;
using System.Text;

namespace Boxer.Images;

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
    private const int MaxPathBytes = 4095;

    // Far beyond any real clock, and within what utimensat(2) takes.
    private const long MaxSeconds = 1L << 40;

    private readonly byte[] _buffer = new byte[128 * 1024];
    private readonly byte[] _block = new byte[BlockSize];
    private int _start;
    private int _end;
    private long _dataLeft;
    private int _padding;

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
            if (length == 0 || (length == BlockSize && !_block.AsSpan().ContainsAnyExcept((byte)0)))
            {
                return null;
            }

            if (length < BlockSize)
            {
                throw new InvalidDataException("the archive ends within a header");
            }

            VerifyChecksum(_block);
            byte type = _block[156];
            long size = Number(_block.AsSpan(124, 12), "size");
            if (type is (byte)'x' or (byte)'L' or (byte)'K' or (byte)'g' or (byte)'V' && size is >= 0 and <= MaxExtendedHeaderBytes && (extendedBytes += size) > MaxExtendedHeaderBytes)
            {
                throw new InvalidDataException($"the extended headers of an entry have more than {MaxExtendedHeaderBytes} bytes");
            }

            switch (type)
            {
                case (byte)'x':
                    extended.Read(await ReadExtendedAsync(size, cancellationToken).ConfigureAwait(false));
                    break;
                case (byte)'L':
                    extended.Name = CString(await ReadExtendedAsync(size, cancellationToken).ConfigureAwait(false));
                    break;
                case (byte)'K':
                    extended.LinkName = CString(await ReadExtendedAsync(size, cancellationToken).ConfigureAwait(false));
                    break;
                case (byte)'g' or (byte)'V':
                    // Global records (a commit's name, mostly) and volume labels say nothing about files.
                    _ = await ReadExtendedAsync(size, cancellationToken).ConfigureAwait(false);
                    break;
                default:
                    return Entry(type, extended, size);
            }
        }
    }

    /// <summary>Reads content of the current entry.</summary>
    /// <param name="buffer">Where to.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>How much was read; 0 at the end of the content.</returns>
    public async ValueTask<int> ReadDataAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        if (_dataLeft == 0)
        {
            return 0;
        }

        if (_start == _end)
        {
            await FillAsync(cancellationToken).ConfigureAwait(false);
            if (_start == _end)
            {
                throw new InvalidDataException("the archive ends within a file");
            }
        }

        int length = (int)Math.Min(_dataLeft, Math.Min(buffer.Length, _end - _start));
        _buffer.AsSpan(_start, length).CopyTo(buffer.Span);
        _start += length;
        _dataLeft -= length;
        return length;
    }

    private LayerEntry Entry(byte typeflag, ExtendedHeader extended, long size)
    {
        bool ustar = _block.AsSpan(257, 6).SequenceEqual("ustar\0"u8);
        byte[] name = CString(_block.AsSpan(0, 100));
        if (ustar && _block[345] != 0)
        {
            name = [.. CString(_block.AsSpan(345, 155)), (byte)'/', .. name];
        }

        name = extended.Name ?? name;
        size = extended.Size ?? size;
        LayerEntryType type = typeflag switch
        {
            0 or (byte)'0' or (byte)'7' => name.AsSpan().EndsWith("/"u8) && size == 0 ? LayerEntryType.Directory : LayerEntryType.File,
            >= (byte)'1' and <= (byte)'6' => (LayerEntryType)typeflag,
            (byte)'S' => throw new InvalidDataException("sparse files are not supported"),
            _ => throw new InvalidDataException($"entries of type 0x{typeflag:x2} are not supported"),
        };
        if (extended.IsSparse)
        {
            throw new InvalidDataException("sparse files are not supported");
        }

        if (size < 0)
        {
            throw new InvalidDataException("an entry has a negative size");
        }

        byte[] linkName = extended.LinkName ?? CString(_block.AsSpan(157, 100));
        if (name.Length > MaxPathBytes || linkName.Length > MaxPathBytes)
        {
            throw new InvalidDataException($"a name is longer than {MaxPathBytes} bytes");
        }

        if (name.Contains((byte)0) || linkName.Contains((byte)0))
        {
            throw new InvalidDataException("a name has a NUL in it");
        }

        // Only files have content: Go's archive/tar ignores the size of the others too, and it is what wrote most layers.
        size = type == LayerEntryType.File ? size : 0;
        _dataLeft = size;
        _padding = (int)(-size & (BlockSize - 1));
        (long seconds, long nanoseconds) = extended.Modified ?? (Number(_block.AsSpan(136, 12), "mtime"), 0);
        return new()
        {
            Type = type,
            Name = name,
            LinkName = linkName,
            Mode = (uint)(Number(_block.AsSpan(100, 8), "mode") & 0xFFF),
            Uid = Id(extended.Uid ?? Number(_block.AsSpan(108, 8), "uid")),
            Gid = Id(extended.Gid ?? Number(_block.AsSpan(116, 8), "gid")),
            Size = size,
            ModifiedSeconds = Math.Clamp(seconds, -MaxSeconds, MaxSeconds),
            ModifiedNanoseconds = nanoseconds,
            ExtendedAttributes = extended.Attributes,
        };
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
    }

    private static byte[] CString(ReadOnlySpan<byte> field)
    {
        int length = field.IndexOf((byte)0);
        return (length < 0 ? field : field[..length]).ToArray();
    }

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

        public byte[]? Name { get; set; }

        public byte[]? LinkName { get; set; }

        public long? Size { get; private set; }

        public long? Uid { get; private set; }

        public long? Gid { get; private set; }

        public (long Seconds, long Nanoseconds)? Modified { get; private set; }

        public bool IsSparse { get; private set; }

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

                Set(Encoding.UTF8.GetString(record[..equals]), record[(equals + 1)..]);
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
                        IsSparse = true;
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
