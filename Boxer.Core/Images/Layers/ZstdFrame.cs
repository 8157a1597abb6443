using System.Buffers.Binary;

namespace Boxer.Images.Layers;

/// <summary>The header of a zstd frame (RFC 8878, 3.1): how much memory its decompressor allocates is told there.</summary>
/// <param name="WindowBytes">The window, or the content where that is less.</param>
internal readonly record struct ZstdFrame(long WindowBytes)
{
    /// <summary>The bytes that a header has at most.</summary>
    public const int MaxHeaderBytes = 18;

    /// <summary>
    /// The largest window that is accepted, as by zstd's own program without options and by container engines; a larger one is refused.
    /// </summary>
    public const long MostWindowBytes = 128L << 20;

    private const uint Magic = 0xFD2FB528;
    private const int SkippableHeaderBytes = 8;
    private const int TwoByteSizeBase = 256;

    /// <summary>Whether data begins with a frame.</summary>
    public static bool IsFrame(ReadOnlySpan<byte> start) => start.Length >= 4 && BinaryPrimitives.ReadUInt32LittleEndian(start) == Magic;

    /// <summary>Whether data begins with a frame of an application's own data, which is passed over.</summary>
    public static bool IsSkippable(ReadOnlySpan<byte> start) => start is [>= 0x50 and <= 0x5f, 0x2a, 0x4d, 0x18, ..];

    /// <summary>The bytes of a frame that is passed over, its header included.</summary>
    /// <exception cref="InvalidDataException">The header is cut off.</exception>
    public static long SkippableBytes(ReadOnlySpan<byte> start) => start.Length >= SkippableHeaderBytes
        ? SkippableHeaderBytes + (long)BinaryPrimitives.ReadUInt32LittleEndian(start[4..])
        : throw CutOff();

    /// <summary>Reads a header.</summary>
    /// <param name="start">The first <see cref="MaxHeaderBytes"/> of the frame, or all there is.</param>
    /// <exception cref="InvalidDataException">It is malformed, or asks for a window that is refused.</exception>
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

    /// <summary>The fault of data that ends too early.</summary>
    public static InvalidDataException CutOff() => new("the zstd data is cut off");
}
