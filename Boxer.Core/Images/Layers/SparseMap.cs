using System.Globalization;

namespace Boxer.Images.Layers;

/// <summary>The parts of a sparse file that an archive has (GNU tar manual, "Storing Sparse Files").</summary>
/// <param name="Chunks">The parts.</param>
/// <param name="RealSize">Size of the file in bytes, holes included.</param>
internal sealed record SparseMap(IReadOnlyList<SparseChunk> Chunks, long RealSize)
{
    /// <summary>Maximum number of parts: as many as fit into an extended header.</summary>
    public const int MaxChunks = 100_000;

    /// <summary>Maximum size of a file in bytes. Beyond any disk, and sums of such sizes do not overflow.</summary>
    public const long MaxSize = 1L << 50;

    /// <summary>Verifies that the parts are in order, lie within the file, and match the content.</summary>
    /// <param name="contentSize">Bytes of content in the archive.</param>
    /// <exception cref="InvalidDataException">The map is malformed.</exception>
    public void Verify(long contentSize)
    {
        long end = 0;
        long content = 0;
        foreach (SparseChunk chunk in Chunks)
        {
            if (chunk.Length is < 0 or > MaxSize || chunk.Offset > MaxSize || chunk.Offset < end)
            {
                throw new InvalidDataException("the map of a sparse file is malformed");
            }

            end = chunk.Offset + chunk.Length;
            content += chunk.Length;
        }

        if (end > RealSize || RealSize > MaxSize || content != contentSize)
        {
            throw new InvalidDataException("the map of a sparse file does not fit its content");
        }
    }
}

/// <summary>The records <c>GNU.sparse.*</c> of an extended header, in the formats 0.0, 0.1 and 1.0.</summary>
internal sealed class SparseRecords
{
    private readonly List<long> _numbers = [];
    private bool _any;
    private bool _hasMap;
    private bool _hasVersion;
    private byte[]? _name;

    /// <summary>Name of the file, if its header has another name for readers without support for sparse files.</summary>
    public byte[]? Name => _hasVersion || _hasMap || _numbers.Count > 0 ? _name : null;

    /// <summary>Size of the file in bytes, holes included.</summary>
    public long RealSize { get; private set; }

    /// <summary>Whether the map precedes the content (format 1.0).</summary>
    public bool IsInContent { get; private set; }

    /// <summary>Reads one record.</summary>
    /// <param name="key">Its key after <c>GNU.sparse.</c>.</param>
    /// <param name="value">Its value.</param>
    /// <exception cref="InvalidDataException">The record is malformed.</exception>
    public void Set(string key, ReadOnlySpan<byte> value)
    {
        _any = true;
        switch (key)
        {
            case "name":
                _name = value.Length == 0 ? null : value.ToArray();
                break;
            case "size" or "realsize":
                RealSize = Number(value);
                break;
            case "major":
                _hasVersion = true;
                IsInContent = Number(value) switch
                {
                    0 => false,
                    1 => true,
                    long other => throw new InvalidDataException($"sparse files of the format {other} are not supported"),
                };
                break;
            case "offset" or "numbytes":
                Add(Number(value));
                break;
            case "map":
                _hasMap = true;
                _numbers.Clear();
                foreach (Range range in value.Split((byte)','))
                {
                    if (value[range].Length > 0)
                    {
                        Add(Number(value[range]));
                    }
                }

                break;
            default:
                // All formats have minor 0, and numblocks repeats the length of the map.
                break;
        }
    }

    /// <summary>Gets the map of the formats 0.0 and 0.1.</summary>
    /// <returns>The map; <see langword="null"/> if the file is not sparse.</returns>
    /// <exception cref="InvalidDataException">The map is malformed.</exception>
    public SparseMap? ToMap()
    {
        if (!_any || (_numbers.Count == 0 && !_hasMap && RealSize == 0))
        {
            return null;
        }

        return _numbers.Count % 2 == 0
            ? new SparseMap([.. _numbers.Chunk(2).Select(pair => new SparseChunk(pair[0], pair[1]))], RealSize)
            : throw new InvalidDataException("the map of a sparse file is malformed");
    }

    private void Add(long number)
    {
        if (_numbers.Count >= 2 * SparseMap.MaxChunks)
        {
            throw new InvalidDataException($"a sparse file has more than {SparseMap.MaxChunks} parts");
        }

        _numbers.Add(number);
    }

    private static long Number(ReadOnlySpan<byte> value) =>
        long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out long number) && number <= SparseMap.MaxSize
            ? number
            : throw new InvalidDataException($"an extended header has a malformed number: {LayerPath.Show(value)}");
}
