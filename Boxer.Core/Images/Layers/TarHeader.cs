using System.Text;

namespace Boxer.Images.Layers;

/// <summary>The header of an entry in a tar archive: ustar (pax(1)), GNU ("Basic Tar Format") or the format before them.</summary>
/// <param name="block">The header's 512 bytes, which change with each entry.</param>
internal sealed class TarHeader(byte[] block)
{
    /// <summary>Bytes of a header, and of every other block of an archive.</summary>
    public const int BlockSize = 512;

    private const int SparseEntrySize = 24;
    private const int SparseNumberSize = 12;

    // Fields by offset and length.
    private static readonly Range NameField = 0..100;
    private static readonly Range ModeField = 100..108;
    private static readonly Range UidField = 108..116;
    private static readonly Range GidField = 116..124;
    private static readonly Range SizeField = 124..136;
    private static readonly Range TimeField = 136..148;
    private static readonly Range ChecksumField = 148..156;
    private const int TypeOffset = 156;
    private static readonly Range LinkNameField = 157..257;
    private static readonly Range UstarMagicField = 257..263;
    private static readonly Range GnuMagicField = 257..265;
    private static readonly Range PrefixField = 345..500;

    // GNU's fields in place of the prefix.
    private static readonly Range GnuAccessTimeField = 345..357;
    private static readonly Range GnuChangeTimeField = 357..369;
    private static readonly Range GnuSparseField = 386..(386 + (4 * SparseEntrySize));
    private const int GnuIsContinuedOffset = 482;
    private static readonly Range GnuRealSizeField = 483..495;

    // A block that continues GNU's map of a sparse file.
    private static readonly Range ContinuedSparseField = 0..(21 * SparseEntrySize);
    private const int ContinuedIsContinuedOffset = 504;

    /// <summary>Type of the entry, or of an extended header.</summary>
    public byte Type => block[TypeOffset];

    /// <summary>Bytes of content that follow.</summary>
    /// <exception cref="InvalidDataException">The field is malformed.</exception>
    public long Size => Number(SizeField, "size");

    /// <summary>Mode of the entry.</summary>
    /// <exception cref="InvalidDataException">The field is malformed.</exception>
    public long Mode => Number(ModeField, "mode");

    /// <summary>User id of the owner.</summary>
    /// <exception cref="InvalidDataException">The field is malformed.</exception>
    public long Uid => Number(UidField, "uid");

    /// <summary>Group id of the owner.</summary>
    /// <exception cref="InvalidDataException">The field is malformed.</exception>
    public long Gid => Number(GidField, "gid");

    /// <summary>Modification time in seconds since 1970.</summary>
    /// <exception cref="InvalidDataException">The field is malformed.</exception>
    public long ModifiedSeconds => Number(TimeField, "mtime");

    /// <summary>Target of a link.</summary>
    public byte[] LinkName => Text(block.AsSpan(LinkNameField));

    /// <summary>Name of the entry, with its prefix.</summary>
    public byte[] Name => block[PrefixField.Start.Value] != 0 && HasPrefix
        ? [.. Text(block.AsSpan(PrefixField)), (byte)'/', .. Text(block.AsSpan(NameField))]
        : Text(block.AsSpan(NameField));

    /// <summary>Size of a sparse file in GNU's own format, holes included.</summary>
    /// <exception cref="InvalidDataException">The field is malformed.</exception>
    public long GnuRealSize => Number(GnuRealSizeField, "real size");

    /// <summary>Whether the map of a sparse file in GNU's own format continues in the next block.</summary>
    public bool IsGnuMapContinued => block[GnuIsContinuedOffset] != 0;

    // GNU's headers have times in place of the prefix. Go's archive/tar before 1.8 also wrote prefixes there, so its readers take a field that is not a
    // time for a prefix.
    private bool HasPrefix =>
        block.AsSpan(UstarMagicField).SequenceEqual("ustar\0"u8)
        || (block.AsSpan(GnuMagicField).SequenceEqual("ustar  \0"u8)
            && !(IsNumber(block.AsSpan(GnuAccessTimeField)) && (block[GnuChangeTimeField.Start.Value] == 0 || IsNumber(block.AsSpan(GnuChangeTimeField))))
            && Ascii.IsValid(Text(block.AsSpan(PrefixField))));

    /// <summary>Verifies the checksum. Old writers summed signed bytes.</summary>
    /// <exception cref="InvalidDataException">The checksum is wrong.</exception>
    public void VerifyChecksum()
    {
        long unsigned = 0;
        long signed = 0;
        for (int i = 0; i < BlockSize; i++)
        {
            byte value = i >= ChecksumField.Start.Value && i < ChecksumField.End.Value ? (byte)' ' : block[i];
            unsigned += value;
            signed += (sbyte)value;
        }

        long expected = Number(ChecksumField, "checksum");
        if (expected != unsigned && expected != signed)
        {
            throw new InvalidDataException("a header has a wrong checksum: the archive is not a tar archive, or damaged");
        }
    }

    /// <summary>Adds the parts of a sparse file that this header lists, in GNU's own format.</summary>
    /// <param name="chunks">Receives the parts.</param>
    /// <exception cref="InvalidDataException">A number is malformed.</exception>
    public void AddGnuMap(List<SparseChunk> chunks) => AddMap(block.AsSpan(GnuSparseField), chunks);

    /// <summary>Adds the parts of a sparse file that a continuation block lists, in GNU's own format.</summary>
    /// <param name="continuation">The block.</param>
    /// <param name="chunks">Receives the parts.</param>
    /// <returns>Whether the map continues in the next block.</returns>
    /// <exception cref="InvalidDataException">A number is malformed.</exception>
    public static bool AddContinuedMap(ReadOnlySpan<byte> continuation, List<SparseChunk> chunks)
    {
        AddMap(continuation[ContinuedSparseField], chunks);
        return continuation[ContinuedIsContinuedOffset] != 0;
    }

    /// <summary>Gets a text that ends with NUL, or with its field.</summary>
    /// <param name="field">The field.</param>
    public static byte[] Text(ReadOnlySpan<byte> field)
    {
        int length = field.IndexOf((byte)0);
        return (length < 0 ? field : field[..length]).ToArray();
    }

    private static void AddMap(ReadOnlySpan<byte> entries, List<SparseChunk> chunks)
    {
        for (; entries.Length > 0 && entries[0] != 0; entries = entries[SparseEntrySize..])
        {
            chunks.Add(new(Number(entries[..SparseNumberSize], "offset"), Number(entries[SparseNumberSize..SparseEntrySize], "length")));
        }
    }

    private static bool IsNumber(ReadOnlySpan<byte> field) =>
        (field[0] & 0x80) != 0 || !Text(field.Trim(" \0"u8)).AsSpan().ContainsAnyExceptInRange((byte)'0', (byte)'7');

    private long Number(Range field, string name) => Number(block.AsSpan(field), name);

    private static long Number(ReadOnlySpan<byte> field, string name)
    {
        if ((field[0] & 0x80) != 0)
        {
            return BinaryNumber(field, name);
        }

        field = field.Trim(" \0"u8);
        long value = 0;
        foreach (byte digit in field)
        {
            if (digit is < (byte)'0' or > (byte)'7')
            {
                // Bytes after the first NUL are not part of the number.
                return digit == 0 ? value : throw new InvalidDataException($"a header has a malformed {name}");
            }

            value = (value << 3) | (uint)(digit - '0');
        }

        return value;
    }

    // GNU's form of numbers that do not fit: the first bit is set, and a big-endian number in two's complement follows.
    private static long BinaryNumber(ReadOnlySpan<byte> field, string name)
    {
        bool negative = (field[0] & 0x40) != 0;
        long value = negative ? -1 : 0;
        for (int i = 0; i < field.Length; i++)
        {
            byte part = i > 0 ? field[i] : (byte)(negative ? field[0] | 0x80 : field[0] & 0x7F);
            if (value != (value << 8) >> 8)
            {
                throw new InvalidDataException($"a header has a {name} that is too large");
            }

            value = (value << 8) | part;
        }

        return value;
    }
}
