using System.Globalization;
using System.IO.Compression;
using System.Text;

namespace Boxer.Tests.Support;

/// <summary>Writes tar archives, including malformed ones.</summary>
internal sealed class Archive
{
    private readonly System.Buffers.ArrayBufferWriter<byte> _stream = new();

    public Archive File(string name, string content = "", int mode = 0b110_100_100, int uid = 0, int gid = 0, params (string, byte[])[] records) =>
        Add('0', name, "", Encoding.UTF8.GetBytes(content), mode, uid, gid, records);

    public Archive Directory(string name, int mode = 0b111_101_101, params (string, byte[])[] records) => Add('5', name, "", [], mode, 0, 0, records);

    public Archive Link(string name, string target) => Add('2', name, target);

    public Archive HardLink(string name, string target) => Add('1', name, target);

    public Archive Device(string name, char type = '3') => Add(type, name);

    public Archive Add(
        char type, string name, string link = "", byte[]? content = null, int mode = 0b110_100_100, int uid = 0, int gid = 0, (string Key, byte[] Value)[]? records = null)
    {
        byte[] nameBytes = Encoding.Latin1.GetBytes(name);
        byte[] linkBytes = Encoding.Latin1.GetBytes(link);
        var all = new List<(string Key, byte[] Value)>(records ?? []);
        if (nameBytes.Length > 100 || nameBytes.Contains((byte)0))
        {
            all.Add(("path", nameBytes));
        }

        if (linkBytes.Length > 100 || linkBytes.Contains((byte)0))
        {
            all.Add(("linkpath", linkBytes));
        }

        if (all.Count > 0)
        {
            byte[] extended = [.. all.SelectMany(record => Record(record.Key, record.Value))];
            Raw('x', Encoding.ASCII.GetBytes("pax"), [], extended, 0, 0, 0);
        }

        Raw(type, nameBytes, linkBytes, content ?? [], mode, uid, gid);
        return this;
    }

    /// <summary>Adds an entry whose header a test changes before its checksum is computed.</summary>
    public Archive Entry(char type, string name, byte[]? content = null, string link = "", long? size = null, Action<byte[]>? change = null, bool isSumSigned = false) =>
        Raw(type, Encoding.Latin1.GetBytes(name), Encoding.Latin1.GetBytes(link), content ?? [], 0b110_100_100, 0, 0, size, change, isSumSigned);

    /// <summary>Adds an extended header for the next entry, or for all further entries.</summary>
    public Archive Pax(char type, params (string Key, string Value)[] records) =>
        Raw(type, "pax"u8.ToArray(), [], [.. records.SelectMany(record => Record(record.Key, Encoding.Latin1.GetBytes(record.Value)))], 0, 0, 0);

    /// <summary>Adds a long name ('L') or target ('K') as GNU tar writes it.</summary>
    public Archive Gnu(char type, string value) =>
        Entry(type, "././@LongLink", Encoding.Latin1.GetBytes(value + '\0'), change: header => "ustar  \0"u8.CopyTo(header.AsSpan(257)));

    /// <summary>Adds raw bytes.</summary>
    public Archive Bytes(byte[] bytes)
    {
        Append(bytes);
        return this;
    }

    public Archive Raw(
        char type, byte[] name, byte[] link, byte[] content, int mode, int uid, int gid, long? size = null, Action<byte[]>? change = null, bool isSumSigned = false)
    {
        var header = new byte[512];
        name.AsSpan(0, Math.Min(100, name.Length)).CopyTo(header);
        Octal(header, 100, 8, mode);
        Octal(header, 108, 8, uid);
        Octal(header, 116, 8, gid);
        Octal(header, 124, 12, size ?? content.Length);
        Octal(header, 136, 12, 1_000_000_000);
        header[156] = (byte)type;
        link.AsSpan(0, Math.Min(100, link.Length)).CopyTo(header.AsSpan(157));
        "ustar\000"u8.CopyTo(header.AsSpan(257));
        change?.Invoke(header);
        header.AsSpan(148, 8).Fill((byte)' ');
        Octal(header, 148, 7, header.Sum(value => isSumSigned ? (sbyte)value : value));
        Append(header);
        Append(content);
        Append(new byte[-content.Length & 511]);
        return this;
    }

    /// <summary>Gets the entries without the end-of-archive marker.</summary>
    public byte[] ToEntries() => _stream.WrittenSpan.ToArray();

    public byte[] ToBytes() => [.. _stream.WrittenSpan, .. new byte[1024]];

    public static byte[] Gzip(byte[] content)
    {
        using var stream = new MemoryStream();
        using (var gzip = new GZipStream(stream, CompressionLevel.Fastest, leaveOpen: true))
        {
            gzip.Write(content);
        }

        return stream.ToArray();
    }

    private void Append(byte[] bytes)
    {
        bytes.CopyTo(_stream.GetSpan(bytes.Length + 1));
        _stream.Advance(bytes.Length);
    }

    private static byte[] Record(string key, byte[] value)
    {
        int rest = 3 + Encoding.UTF8.GetByteCount(key) + value.Length;
        int length = rest + rest.ToString(CultureInfo.InvariantCulture).Length;
        length = rest + length.ToString(CultureInfo.InvariantCulture).Length;
        return [.. Encoding.UTF8.GetBytes($"{length} {key}="), .. value, (byte)'\n'];
    }

    /// <summary>Encodes a number that does not fit its field, as GNU tar does.</summary>
    public static void Binary(byte[] header, int offset, int length, long value)
    {
        for (int i = length - 1; i >= 0; i--, value >>= 8)
        {
            header[offset + i] = (byte)value;
        }

        header[offset] |= 0x80;
    }

    private static void Octal(byte[] header, int offset, int length, long value) =>
        Encoding.ASCII.GetBytes(Convert.ToString(value, 8).PadLeft(length - 1, '0')).CopyTo(header.AsSpan(offset));
}
