using Boxer.Common;

namespace Boxer.Images.Layers;

/// <summary>Reads tar archives in the formats of layers: ustar, PAX, GNU and the old format before them.</summary>
/// <remarks>
/// System.Formats.Tar is not used, for three reasons. It decodes names and attribute values as UTF-8, which destroys
/// security.capability values and names in other encodings. It reads extended headers of up to 2 GiB into memory. And its rules for accepting
/// malformed headers are not documented.
/// </remarks>
internal sealed class LayerArchiveReader
{
    private const int BlockSize = TarHeader.BlockSize;

    // The bound of Go's archive/tar, which most tools that build images use.
    private const int MaxExtendedHeaderBytes = 1024 * 1024;

    // Far beyond any real clock, and valid for utimensat(2).
    private const long MaxSeconds = 1L << 40;

    private readonly Stream _archive;
    private readonly byte[] _buffer = new byte[128 * 1024];
    private readonly byte[] _block = new byte[BlockSize];
    private readonly TarHeader _header;
    private int _start;
    private int _end;
    private long _dataLeft;
    private int _padding;
    private long _filled;

    /// <summary>Creates a reader.</summary>
    /// <param name="archive">The archive; not disposed.</param>
    public LayerArchiveReader(Stream archive)
    {
        _archive = archive;
        _header = new(_block);
    }

    /// <summary>Whether the archive had an end-of-archive mark.</summary>
    public bool HasEndMark { get; private set; }

    /// <summary>Whether no complete header has been read yet.</summary>
    public bool IsAtFirstHeader { get; private set; } = true;

    /// <summary>Position in the archive; after <see cref="ReadEntryAsync"/>, that of the entry's content.</summary>
    public long Position => _filled - (_end - _start);

    /// <summary>Reads the next entry. Unread content of the last entry is skipped.</summary>
    /// <param name="cancellationToken">Cancels the read.</param>
    /// <returns>The entry; <see langword="null"/> at the end of the archive.</returns>
    /// <exception cref="InvalidDataException">The archive is malformed, or has a feature that layers may not have.</exception>
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
                await ReadEndMarkAsync(cancellationToken).ConfigureAwait(false);
                return null;
            }

            if (length < BlockSize)
            {
                throw new InvalidDataException("the archive ends within a header");
            }

            _header.VerifyChecksum();
            IsAtFirstHeader = false;
            byte type = _header.Type;
            long size = _header.Size;
            if (type is (byte)'x' or (byte)'L' or (byte)'K' or (byte)'g' or (byte)'V' && size is >= 0 and <= MaxExtendedHeaderBytes && (extendedBytes += size) > MaxExtendedHeaderBytes)
            {
                throw new InvalidDataException($"the extended headers of an entry have more than {MaxExtendedHeaderBytes} bytes");
            }

            switch (type)
            {
                case (byte)'x':
                    // The last of several headers counts, and GNU's long names override the names in it, as in Go's archive/tar.
                    extended = new() { LongName = extended.LongName, LongLinkName = extended.LongLinkName };
                    extended.Read(await ReadExtendedAsync(size, cancellationToken).ConfigureAwait(false));
                    break;
                case (byte)'L':
                    extended.LongName = TarHeader.Text(await ReadExtendedAsync(size, cancellationToken).ConfigureAwait(false));
                    break;
                case (byte)'K':
                    extended.LongLinkName = TarHeader.Text(await ReadExtendedAsync(size, cancellationToken).ConfigureAwait(false));
                    break;
                case (byte)'g' or (byte)'V':
                    // Global records (mostly the id of a commit) and volume labels have nothing about files.
                    _ = await ReadExtendedAsync(size, cancellationToken).ConfigureAwait(false);
                    break;
                default:
                    return await MakeEntryAsync(type, extended, size, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Reads content of the current entry.</summary>
    /// <param name="most">Maximum number of bytes.</param>
    /// <param name="cancellationToken">Cancels the read.</param>
    /// <returns>The bytes, valid until the next call; empty at the end of the content.</returns>
    /// <exception cref="InvalidDataException">The archive ends within the content.</exception>
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

    /// <summary>Reads the rest of the archive after the end-of-archive mark. It has no meaning, but is part of the digest.</summary>
    /// <param name="cancellationToken">Cancels the read.</param>
    public async ValueTask DrainAsync(CancellationToken cancellationToken)
    {
        do
        {
            await FillAsync(cancellationToken).ConfigureAwait(false);
        }
        while (_end > 0);
    }

    // The mark is two blocks of zeros. After a single one, some tools read on and others do not.
    private async ValueTask ReadEndMarkAsync(CancellationToken cancellationToken)
    {
        int length = await ReadFullyAsync(_block, cancellationToken).ConfigureAwait(false);
        HasEndMark = true;
        if (_block.AsSpan(0, length).ContainsAnyExcept((byte)0))
        {
            throw new InvalidDataException("a block of zeros is followed by more");
        }
    }

    private async ValueTask<LayerEntry> MakeEntryAsync(byte typeflag, ExtendedHeader extended, long size, CancellationToken cancellationToken)
    {
        byte[] name = extended.Sparse.Name ?? extended.LongName ?? extended.Name ?? _header.Name;
        size = extended.Size ?? size;
        LayerEntryType type = ReadType(typeflag, name);
        if (size < 0)
        {
            throw new InvalidDataException("an entry has a negative size");
        }

        if (size > SparseMap.MaxSize)
        {
            throw new InvalidDataException("an entry is larger than any disk");
        }

        byte[] linkName = extended.LongLinkName ?? extended.LinkName ?? _header.LinkName;
        if (name.Length > CleanPath.MaxBytes || linkName.Length > CleanPath.MaxBytes)
        {
            throw new InvalidDataException($"a name is longer than {CleanPath.MaxBytes} bytes");
        }

        if (name.Contains((byte)0) || linkName.Contains((byte)0))
        {
            throw new InvalidDataException("a name has a NUL in it");
        }

        // Only files have content. Go's archive/tar, which wrote most layers, ignores the size of other entries too.
        size = type == LayerEntryType.File ? size : 0;
        _dataLeft = size;
        _padding = (int)(-size & (BlockSize - 1));
        SparseMap? sparse = type != LayerEntryType.File ? null
            : typeflag == (byte)'S' ? await ReadGnuMapAsync(cancellationToken).ConfigureAwait(false)
            : extended.Sparse.IsInContent ? await ReadMapInContentAsync(extended.Sparse.RealSize, cancellationToken).ConfigureAwait(false)
            : extended.Sparse.ToMap();
        sparse?.Verify(_dataLeft);
        (long seconds, long nanoseconds) = extended.Modified ?? (_header.ModifiedSeconds, 0);
        return new()
        {
            Type = type,
            Name = name,
            LinkName = linkName,
            Mode = (uint)(_header.Mode & 0xFFF),
            Uid = Id(extended.Uid ?? _header.Uid),
            Gid = Id(extended.Gid ?? _header.Gid),
            Size = sparse?.RealSize ?? size,
            Chunks = sparse?.Chunks,
            ModifiedSeconds = Math.Clamp(seconds, -MaxSeconds, MaxSeconds),
            ModifiedNanoseconds = nanoseconds,
            ExtendedAttributes = extended.Attributes,
        };
    }

    private static LayerEntryType ReadType(byte typeflag, byte[] name) => typeflag switch
    {
        // The oldest archives mark directories only by the slash. A reader that ignores it takes content for headers, or headers for content.
        0 => name.AsSpan().EndsWith("/"u8) ? LayerEntryType.Directory : LayerEntryType.File,
        (byte)'0' or (byte)'7' => LayerEntryType.File,
        >= (byte)'1' and <= (byte)'6' => (LayerEntryType)typeflag,
        (byte)'S' => LayerEntryType.File,
        _ => throw new InvalidDataException($"entries of type 0x{typeflag:x2} are not supported"),
    };

    // GNU tar's own format: the map is in the header, and in blocks after it (GNU tar manual, "Old GNU Format").
    private async ValueTask<SparseMap> ReadGnuMapAsync(CancellationToken cancellationToken)
    {
        var chunks = new List<SparseChunk>();
        long realSize = _header.GnuRealSize;
        _header.AddGnuMap(chunks);
        if (_header.IsGnuMapContinued)
        {
            var continuation = new byte[BlockSize];
            do
            {
                if (chunks.Count > SparseMap.MaxChunks || await ReadFullyAsync(continuation, cancellationToken).ConfigureAwait(false) < BlockSize)
                {
                    throw new InvalidDataException("the map of a sparse file is too long, or cut off");
                }
            }
            while (TarHeader.AddContinuedMap(continuation, chunks));
        }

        return new SparseMap(chunks, realSize);
    }

    // PAX format 1.0: the map precedes the content. It has one decimal number a line, and is padded to a whole block.
    private async ValueTask<SparseMap> ReadMapInContentAsync(long realSize, CancellationToken cancellationToken)
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

    // The id -1 means "no change" to chown(2): the file would stay owned by this process's user.
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
                // Skipped content of a file need not be read. Readers of that content see whether it is there.
                if (_archive.CanSeek && left > _buffer.Length)
                {
                    // Some streams cannot seek beyond their end.
                    long skipped = Math.Min(left, _archive.Length - _archive.Position);
                    _archive.Seek(skipped, SeekOrigin.Current);
                    _filled += skipped;
                    return;
                }

                await FillAsync(cancellationToken).ConfigureAwait(false);
                if (_start == _end)
                {
                    // Some writers omit the padding of the last file.
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
        _end = await _archive.ReadAsync(_buffer, cancellationToken).ConfigureAwait(false);
        _filled += _end;
    }
}
