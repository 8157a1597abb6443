namespace Boxer.Images.Layers;

/// <summary>The type of an entry of a tar archive, by its typeflag (pax(1)).</summary>
internal enum LayerEntryType
{
    File = '0',
    HardLink = '1',
    SymbolicLink = '2',
    CharacterDevice = '3',
    BlockDevice = '4',
    Directory = '5',
    Fifo = '6',
}

/// <summary>An entry of a layer, as the archive describes it.</summary>
internal sealed record LayerEntry
{
    public required LayerEntryType Type { get; init; }

    /// <summary>Name as bytes, which need not be UTF-8. Never contains NUL.</summary>
    public required byte[] Name { get; init; }

    /// <summary>Target of a link. Never contains NUL.</summary>
    public required byte[] LinkName { get; init; }

    /// <summary>Permission bits with setuid, setgid and sticky.</summary>
    public required uint Mode { get; init; }

    public required uint Uid { get; init; }

    public required uint Gid { get; init; }

    /// <summary>Size of a file in bytes, including holes; 0 for other entries.</summary>
    public required long Size { get; init; }

    /// <summary>
    /// Parts of a sparse file that the content in the archive fills, in ascending order; the rest of the file is zero. <see langword="null"/>: the
    /// file is not sparse.
    /// </summary>
    public IReadOnlyList<SparseChunk>? Chunks { get; init; }

    /// <summary>Modification time in seconds since 1970.</summary>
    public required long ModifiedSeconds { get; init; }

    /// <summary>Nanoseconds after <see cref="ModifiedSeconds"/>.</summary>
    public required long ModifiedNanoseconds { get; init; }

    /// <summary>Extended attributes (SCHILY.xattr records), with their values as bytes.</summary>
    public required IReadOnlyList<KeyValuePair<string, byte[]>> ExtendedAttributes { get; init; }
}

/// <summary>A part of a sparse file that has content.</summary>
/// <param name="Offset">Offset in the file.</param>
/// <param name="Length">Length in bytes.</param>
[System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Auto)]
internal readonly record struct SparseChunk(long Offset, long Length);
