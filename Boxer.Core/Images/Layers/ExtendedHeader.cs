using System.Globalization;
using Boxer.Common;

namespace Boxer.Images.Layers;

/// <summary>The extended headers of an entry: records of pax(1), and long names of GNU tar.</summary>
internal sealed class ExtendedHeader
{
    private const string AttributePrefix = "SCHILY.xattr.";

    /// <summary>Long name by GNU tar, which overrides <see cref="Name"/>.</summary>
    public byte[]? LongName { get; set => field = value is { Length: > 0 } ? value : null; }

    /// <summary>Long link target by GNU tar, which overrides <see cref="LinkName"/>.</summary>
    public byte[]? LongLinkName { get; set => field = value is { Length: > 0 } ? value : null; }

    /// <summary>Name of the entry.</summary>
    public byte[]? Name { get; private set; }

    /// <summary>Target of a link.</summary>
    public byte[]? LinkName { get; private set; }

    /// <summary>Bytes of content in the archive.</summary>
    public long? Size { get; private set; }

    /// <summary>User id of the owner.</summary>
    public long? Uid { get; private set; }

    /// <summary>Group id of the owner.</summary>
    public long? Gid { get; private set; }

    /// <summary>Modification time since 1970.</summary>
    public (long Seconds, long Nanoseconds)? Modified { get; private set; }

    /// <summary>Records of sparse files.</summary>
    public SparseRecords Sparse { get; } = new();

    /// <summary>Extended attributes, with their values as bytes.</summary>
    public List<KeyValuePair<string, byte[]>> Attributes { get; } = [];

    /// <summary>Reads records of the form <c>length key=value\n</c> (pax(1)).</summary>
    /// <param name="content">The records.</param>
    /// <exception cref="InvalidDataException">A record is malformed.</exception>
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

            Set(UntrustedText.Decode(record[..equals]), record[(equals + 1)..]);
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
                    Sparse.Set(key["GNU.sparse.".Length..], value);
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
