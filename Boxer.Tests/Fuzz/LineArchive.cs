using System.Globalization;
using System.Text;

namespace Boxer.Fuzz;

/// <summary>
/// Archives written as lines, so that a fuzzer can add, drop and change whole entries:
/// <code>type name|link|content|mode|uid|gid|size</code>
/// without the space. An omitted field has the value that a correct tool writes. <c>x</c> is followed by records (<c>xkey=value|key=value</c>),
/// and an empty line ends a layer.
/// </summary>
internal static class LineArchive
{
    private const int BlockSize = 512;

    // Longer inputs take more time and find nothing else.
    private const int MaxLayers = 3;

    public static List<byte[]> Layers(ReadOnlySpan<byte> lines)
    {
        var layers = new List<byte[]>();
        using var layer = new MemoryStream();
        foreach (Range range in lines.Split((byte)'\n'))
        {
            ReadOnlySpan<byte> line = lines[range];
            if (line.Length > 0)
            {
                Write(layer, line[0], line[1..]);
            }
            else if (layer.Length > 0)
            {
                layers.Add(Finish(layer));
            }
        }

        if (layer.Length > 0)
        {
            layers.Add(Finish(layer));
        }

        return layers.Count <= MaxLayers ? layers : layers[..MaxLayers];
    }

    private static byte[] Finish(MemoryStream layer)
    {
        layer.Write(new byte[2 * BlockSize]);
        byte[] archive = layer.ToArray();
        layer.SetLength(0);
        return archive;
    }

    private static void Write(MemoryStream layer, byte type, ReadOnlySpan<byte> line)
    {
        if (type == (byte)'x')
        {
            using var records = new MemoryStream();
            foreach (Range range in line.Split((byte)'|'))
            {
                WriteRecord(records, line[range]);
            }

            Write(layer, type, "x"u8, default, records.ToArray(), default, default, default, default);
            return;
        }

        Span<Range> fields = stackalloc Range[7];
        fields.Clear();
        int count = 0;
        foreach (Range range in line.Split((byte)'|'))
        {
            if (count < fields.Length)
            {
                fields[count++] = range;
            }
        }

        Write(layer, type, line[fields[0]], line[fields[1]], line[fields[2]], line[fields[3]], line[fields[4]], line[fields[5]], line[fields[6]]);
    }

    private static void Write(
        MemoryStream layer, byte type, ReadOnlySpan<byte> name, ReadOnlySpan<byte> link, ReadOnlySpan<byte> content,
        ReadOnlySpan<byte> mode, ReadOnlySpan<byte> uid, ReadOnlySpan<byte> gid, ReadOnlySpan<byte> size)
    {
        Span<byte> header = stackalloc byte[BlockSize];
        header.Clear();
        Put(header[..100], name);
        Put(header.Slice(100, 8), mode.Length > 0 ? mode : "0000755"u8);
        Put(header.Slice(108, 8), uid);
        Put(header.Slice(116, 8), gid);
        Put(header.Slice(124, 12), size.Length > 0 ? size : Encoding.ASCII.GetBytes(Convert.ToString(content.Length, 8)));
        Put(header.Slice(136, 12), "7346545000"u8);
        header[156] = type;
        Put(header.Slice(157, 100), link);
        Put(header.Slice(257, 8), "ustar\000"u8);
        HeaderRepair.WriteChecksum(header);
        layer.Write(header);
        layer.Write(content);
        layer.Write(new byte[-content.Length & (BlockSize - 1)]);
    }

    private static void Put(Span<byte> field, ReadOnlySpan<byte> value) => value[..Math.Min(field.Length, value.Length)].CopyTo(field);

    private static void WriteRecord(MemoryStream records, ReadOnlySpan<byte> record)
    {
        // The length of a record includes its own digits.
        int length = record.Length + 2;
        length += length.ToString(CultureInfo.InvariantCulture).Length;
        length = record.Length + 2 + length.ToString(CultureInfo.InvariantCulture).Length;
        records.Write(Encoding.ASCII.GetBytes(length.ToString(CultureInfo.InvariantCulture) + " "));
        records.Write(record);
        records.WriteByte((byte)'\n');
    }
}
