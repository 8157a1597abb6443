using System.Buffers.Binary;

namespace Boxer.Images.Layers;

/// <summary>The header of a zstd frame (RFC 8878, 3.1), which tells how much memory its decompressor needs.</summary>
/// <param name="WindowBytes">Size of the window in bytes, or of the content if that is smaller.</param>
internal readonly record struct ZstdFrame(long WindowBytes)
{
    /// <summary>Maximum size of a header in bytes.</summary>
    public const int MaxHeaderBytes = 18;

    /// <summary>
    /// Maximum size of a window in bytes, as in zstd's own program without options and in container engines. Larger windows are rejected.
    /// </summary>
    public const long MostWindowBytes = 128L << 20;

    private const uint Magic = 0xFD2FB528;
    private const int SkippableHeaderBytes = 8;
    private const int TwoByteSizeBase = 256;

    /// <summary>Gets whether data begins with a frame.</summary>
    /// <param name="start">The first bytes of the data.</param>
    public static bool IsFrame(ReadOnlySpan<byte> start) => start.Length >= 4 && BinaryPrimitives.ReadUInt32LittleEndian(start) == Magic;

    /// <summary>Gets whether data begins with a frame that decompressors skip.</summary>
    /// <param name="start">The first bytes of the data.</param>
    public static bool IsSkippable(ReadOnlySpan<byte> start) => start is [>= 0x50 and <= 0x5f, 0x2a, 0x4d, 0x18, ..];

    /// <summary>Gets the size in bytes of a frame that decompressors skip, its header included.</summary>
    /// <param name="start">The first bytes of the frame.</param>
    /// <exception cref="InvalidDataException">The header is cut off.</exception>
    public static long SkippableBytes(ReadOnlySpan<byte> start) => start.Length >= SkippableHeaderBytes
        ? SkippableHeaderBytes + (long)BinaryPrimitives.ReadUInt32LittleEndian(start[4..])
        : throw CutOff();

    /// <summary>Reads a header.</summary>
    /// <param name="start">The first <see cref="MaxHeaderBytes"/> of the frame, or all of it if it is shorter.</param>
    /// <exception cref="InvalidDataException">The header is malformed, or its window is too large.</exception>
    public static ZstdFrame Read(ReadOnlySpan<byte> start)
    {
        if (!IsFrame(start))
        {
            throw new InvalidDataException("the zstd data is malformed: no frame begins where one should");
        }

        if (start.Length < 5)
        {
            throw CutOff();
        }

        byte descriptor = start[4];
        bool isSingleSegment = (descriptor & 0x20) != 0;
        int windowBytes = isSingleSegment ? 0 : 1;
        int dictionaryBytes = (descriptor & 3) switch { 3 => 4, var length => length };
        int sizeBytes = (descriptor >> 6) switch { 0 => isSingleSegment ? 1 : 0, 1 => 2, 2 => 4, _ => 8 };
        ReadOnlySpan<byte> rest = start[5..];
        if (rest.Length < windowBytes + dictionaryBytes + sizeBytes)
        {
            throw CutOff();
        }

        ReadOnlySpan<byte> size = rest.Slice(windowBytes + dictionaryBytes, sizeBytes);
        ulong? content = sizeBytes switch
        {
            0 => null,
            1 => size[0],
            2 => (ulong)BinaryPrimitives.ReadUInt16LittleEndian(size) + TwoByteSizeBase,
            4 => BinaryPrimitives.ReadUInt32LittleEndian(size),
            _ => BinaryPrimitives.ReadUInt64LittleEndian(size),
        };
        ulong window = content ?? ulong.MaxValue;
        if (!isSingleSegment)
        {
            ulong power = 1UL << (10 + (rest[0] >> 3));
            window = power + (power / 8 * (ulong)(rest[0] & 7));
        }

        return window <= MostWindowBytes
            ? new((long)Math.Min(window, content ?? ulong.MaxValue))
            : throw new InvalidDataException($"the zstd data needs a window of {window} bytes; {MostWindowBytes} are allowed").AsPublic();
    }

    /// <summary>Creates the fault of data that ends too early.</summary>
    public static InvalidDataException CutOff() => new("the zstd data is cut off");
}
