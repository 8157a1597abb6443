using System.Buffers.Text;
using System.Globalization;
using System.Text;

namespace Boxer.Fuzz;

/// <summary>
/// Recomputes the values that a mutation breaks in every header and that a fuzzer cannot guess: checksums, and the lengths of records in
/// extended headers. Compressed archives are not changed.
/// </summary>
internal static class HeaderRepair
{
    private const int BlockSize = 512;

    public static void Repair(Span<byte> archive)
    {
        while (archive.Length >= BlockSize && archive[0] is not (0x1f or 0x28) && archive[..BlockSize].ContainsAnyExcept((byte)0))
        {
            Span<byte> header = archive[..BlockSize];
            WriteChecksum(header);
            byte type = header[156];
            bool isMapContinued = type == (byte)'S' && header[482] != 0;
            archive = archive[BlockSize..];
            while (isMapContinued && archive.Length >= BlockSize)
            {
                isMapContinued = archive[504] != 0;
                archive = archive[BlockSize..];
            }

            // Only these types have content. Sizes in extended headers are ignored.
            bool hasContent = type is 0 or (byte)'0' or (byte)'7' or (byte)'S' or (byte)'x' or (byte)'g' or (byte)'L' or (byte)'K' or (byte)'V';
            int size = hasContent ? Size(header[124..136], archive.Length) : 0;
            if (type is (byte)'x' or (byte)'g')
            {
                WriteLengths(archive[..size]);
            }

            archive = archive[Math.Min(archive.Length, size + (-size & (BlockSize - 1)))..];
        }
    }

    public static void WriteChecksum(Span<byte> header)
    {
        header.Slice(148, 8).Fill((byte)' ');
        int sum = 0;
        foreach (byte value in header)
        {
            sum += value;
        }

        Encoding.ASCII.GetBytes(Convert.ToString(sum, 8).PadLeft(6, '0') + "\0").CopyTo(header[148..]);
    }

    private static int Size(ReadOnlySpan<byte> field, int most)
    {
        long size = 0;
        foreach (byte digit in field.Trim(" \0"u8))
        {
            if (digit is < (byte)'0' or > (byte)'7')
            {
                break;
            }

            size = (size * 8) + (digit - '0');
        }

        return (int)Math.Min(size, most);
    }

    private static void WriteLengths(Span<byte> records)
    {
        while (records.Length > 0)
        {
            int space = records.IndexOf((byte)' ');
            if (space is < 1 or > 10)
            {
                return;
            }

            // A length that is right stays: the value may contain line breaks.
            if (!Utf8Parser.TryParse(records[..space], out int length, out int digits) || digits != space
                || length <= space || length > records.Length || records[length - 1] != (byte)'\n')
            {
                length = records.IndexOf((byte)'\n') + 1;
                string text = length.ToString(CultureInfo.InvariantCulture);
                if (length <= space || text.Length > space)
                {
                    return;
                }

                Encoding.ASCII.GetBytes(text.PadLeft(space, '0')).CopyTo(records);
            }

            records = records[length..];
        }
    }
}
