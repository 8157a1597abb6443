using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Text;

namespace Boxer.Network;

/// <summary>Response codes of DNS (RFC 1035, section 4.1.1).</summary>
internal enum DnsCode : byte
{
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NameError = 3,
    NotImplemented = 4,
    Refused = 5,
}

/// <summary>Types of DNS records that Boxer reads.</summary>
internal enum DnsType : ushort
{
    None = 0,
    A = 1,
    Cname = 5,
    Aaaa = 28,
}

/// <summary>A question that a sandbox sent.</summary>
/// <param name="Id">The identifier of the message.</param>
/// <param name="Flags">The third byte of the message: the kind of query, and whether recursion is wanted.</param>
/// <param name="Question">The question as it was sent, in the sender's letter case; empty if there is a fault.</param>
/// <param name="Name">The name in lower case, without a dot at the end. Bytes that are no part of a host name are \DDD.</param>
/// <param name="Type">The type that is asked for, which may be any.</param>
/// <param name="Class">The class.</param>
/// <param name="Fault">Why it is not answered, or <see cref="DnsCode.NoError"/>.</param>
internal sealed record DnsQuery(ushort Id, byte Flags, ReadOnlyMemory<byte> Question, string Name, DnsType Type, ushort Class, DnsCode Fault);

/// <summary>What a sandbox is answered.</summary>
/// <param name="Code">The response code.</param>
/// <param name="Addresses">Addresses of the type that was asked for.</param>
/// <param name="Seconds">Their time to live.</param>
internal sealed record DnsReply(DnsCode Code, IReadOnlyList<IPAddress> Addresses, uint Seconds)
{
    internal DnsReply(DnsCode code)
        : this(code, [], 0)
    {
    }
}

/// <summary>What an upstream resolver answered.</summary>
/// <param name="Code">The response code.</param>
/// <param name="IsTruncated">Whether the answer did not fit: it is to be asked for by TCP, and has no addresses here.</param>
/// <param name="Addresses">The addresses of the name that was asked for, also through its aliases.</param>
/// <param name="Seconds">The least time to live of the addresses and of the aliases that led to them.</param>
internal sealed record DnsAnswer(DnsCode Code, bool IsTruncated, IReadOnlyList<IPAddress> Addresses, uint Seconds);

/// <summary>
/// The messages of DNS (RFC 1035) that Boxer needs: one question for an address, and its answer. Both come from strangers: every length
/// is checked, and the work for a message is bounded.
/// </summary>
internal static class DnsMessage
{
    /// <summary>The class of the internet.</summary>
    internal const ushort Internet = 1;

    /// <summary>Bytes of a query, and of an answer over UDP (RFC 1035, section 4.2.1).</summary>
    internal const int MostDatagram = 512;

    private const int HeaderBytes = 12;
    private const int MostNameBytes = 255;
    private const int MostLabelBytes = 63;
    private const int MostRecords = 256;
    private const int MostAliases = 16;
    private const byte ResponseBit = 0x80;
    private const byte OpcodeBits = 0x78;
    private const byte TruncatedBit = 0x02;
    private const byte RecursionBit = 0x01;
    private const byte RecursionAvailableBit = 0x80;

    /// <summary>Reads a query; <see langword="null"/> if nothing is to be sent back.</summary>
    internal static DnsQuery? ParseQuery(ReadOnlyMemory<byte> message)
    {
        ReadOnlySpan<byte> bytes = message.Span;
        // Nothing is sent in reply to a response: two servers could go on for ever.
        if (bytes.Length < HeaderBytes || (bytes[2] & ResponseBit) != 0)
        {
            return null;
        }

        ushort id = BinaryPrimitives.ReadUInt16BigEndian(bytes);
        if ((bytes[2] & OpcodeBits) != 0)
        {
            return Faulty(DnsCode.NotImplemented);
        }

        int at = HeaderBytes;
        // Additional records are not looked at: they are extensions (EDNS), which a server may do without.
        if (Count(bytes, 0) != 1 || Count(bytes, 1) != 0 || Count(bytes, 2) != 0
            || ReadName(bytes, ref at, followPointers: false) is not { } name || bytes.Length < at + 4)
        {
            return Faulty(DnsCode.FormatError);
        }

        return new DnsQuery(
            id,
            bytes[2],
            message[HeaderBytes..(at + 4)],
            name,
            (DnsType)BinaryPrimitives.ReadUInt16BigEndian(bytes[at..]),
            BinaryPrimitives.ReadUInt16BigEndian(bytes[(at + 2)..]),
            DnsCode.NoError);

        DnsQuery Faulty(DnsCode fault) => new(id, message.Span[2], ReadOnlyMemory<byte>.Empty, "", DnsType.None, 0, fault);
    }

    /// <summary>Writes a reply. Addresses beyond <paramref name="mostBytes"/> are left out, and the reply says that it is truncated.</summary>
    internal static byte[] WriteReply(DnsQuery query, DnsReply reply, int mostBytes)
    {
        const int RecordHeaderBytes = 12;
        int addressBytes = query.Type == DnsType.A ? 4 : 16;
        int fitting = Math.Min(reply.Addresses.Count, (mostBytes - HeaderBytes - query.Question.Length) / (RecordHeaderBytes + addressBytes));
        var message = new byte[HeaderBytes + query.Question.Length + (fitting * (RecordHeaderBytes + addressBytes))];
        BinaryPrimitives.WriteUInt16BigEndian(message, query.Id);
        message[2] = (byte)(ResponseBit | (query.Flags & (OpcodeBits | RecursionBit)) | (fitting < reply.Addresses.Count ? TruncatedBit : 0));
        message[3] = (byte)(RecursionAvailableBit | (byte)reply.Code);
        message[5] = (byte)(query.Question.IsEmpty ? 0 : 1);
        BinaryPrimitives.WriteUInt16BigEndian(message.AsSpan(6), (ushort)fitting);
        query.Question.Span.CopyTo(message.AsSpan(HeaderBytes));
        Span<byte> rest = message.AsSpan(HeaderBytes + query.Question.Length);
        foreach (IPAddress address in reply.Addresses.Take(fitting))
        {
            // The name is a pointer to the one in the question.
            BinaryPrimitives.WriteUInt16BigEndian(rest, 0xC000 | HeaderBytes);
            BinaryPrimitives.WriteUInt16BigEndian(rest[2..], (ushort)query.Type);
            BinaryPrimitives.WriteUInt16BigEndian(rest[4..], Internet);
            BinaryPrimitives.WriteUInt32BigEndian(rest[6..], reply.Seconds);
            BinaryPrimitives.WriteUInt16BigEndian(rest[10..], (ushort)addressBytes);
            address.TryWriteBytes(rest[RecordHeaderBytes..], out _);
            rest = rest[(RecordHeaderBytes + addressBytes)..];
        }

        return message;
    }

    /// <summary>Writes a query for the addresses of a host name.</summary>
    internal static byte[] WriteQuery(ushort id, string name, DnsType type)
    {
        // A length before each label, and a root after the last.
        var message = new byte[HeaderBytes + name.Length + 2 + 4];
        BinaryPrimitives.WriteUInt16BigEndian(message, id);
        message[2] = RecursionBit;
        message[5] = 1;
        int at = HeaderBytes;
        foreach (string label in name.Split('.'))
        {
            message[at] = (byte)label.Length;
            at += 1 + Encoding.ASCII.GetBytes(label, message.AsSpan(at + 1));
        }

        BinaryPrimitives.WriteUInt16BigEndian(message.AsSpan(at + 1), (ushort)type);
        BinaryPrimitives.WriteUInt16BigEndian(message.AsSpan(at + 3), Internet);
        return message;
    }

    /// <summary>Reads an answer; <see langword="null"/> if it is malformed or answers another question.</summary>
    internal static DnsAnswer? ParseAnswer(ReadOnlySpan<byte> message, ushort id, string name, DnsType type)
    {
        int at = HeaderBytes;
        if (message.Length < HeaderBytes
            || BinaryPrimitives.ReadUInt16BigEndian(message) != id
            || (message[2] & (ResponseBit | OpcodeBits)) != ResponseBit
            || Count(message, 0) != 1
            || ReadName(message, ref at, followPointers: false) != name
            || message.Length < at + 4
            || BinaryPrimitives.ReadUInt16BigEndian(message[at..]) != (ushort)type
            || BinaryPrimitives.ReadUInt16BigEndian(message[(at + 2)..]) != Internet)
        {
            return null;
        }

        at += 4;
        var code = (DnsCode)(message[3] & 0x0F);
        if ((message[2] & TruncatedBit) != 0)
        {
            return new DnsAnswer(code, IsTruncated: true, [], 0);
        }

        var addresses = new List<(string Owner, IPAddress Address, uint Seconds)>();
        var aliases = new Dictionary<string, (string Target, uint Seconds)>(StringComparer.Ordinal);
        for (int record = Math.Min(Count(message, 1), MostRecords); record > 0; record--)
        {
            if (!ReadRecord(message, ref at, type, addresses, aliases))
            {
                return null;
            }
        }

        return Follow(code, name, addresses, aliases);
    }

    // Addresses of other names than the one that was asked for are not its own, whatever the answer has besides.
    private static DnsAnswer Follow(
        DnsCode code, string name, List<(string Owner, IPAddress Address, uint Seconds)> addresses, Dictionary<string, (string Target, uint Seconds)> aliases)
    {
        uint seconds = uint.MaxValue;
        for (int step = 0; step <= MostAliases; step++)
        {
            (string Owner, IPAddress Address, uint Seconds)[] own = [.. addresses.Where(record => record.Owner == name)];
            if (own.Length > 0)
            {
                return new DnsAnswer(code, IsTruncated: false, [.. own.Select(record => record.Address)], Math.Min(seconds, own.Min(record => record.Seconds)));
            }

            if (!aliases.TryGetValue(name, out (string Target, uint Seconds) alias))
            {
                break;
            }

            (name, seconds) = (alias.Target, Math.Min(seconds, alias.Seconds));
        }

        return new DnsAnswer(code, IsTruncated: false, [], 0);
    }

    private static bool ReadRecord(
        ReadOnlySpan<byte> message,
        ref int at,
        DnsType wanted,
        List<(string Owner, IPAddress Address, uint Seconds)> addresses,
        Dictionary<string, (string Target, uint Seconds)> aliases)
    {
        const int FixedBytes = 10;
        if (ReadName(message, ref at, followPointers: true) is not { } owner || message.Length < at + FixedBytes)
        {
            return false;
        }

        var type = (DnsType)BinaryPrimitives.ReadUInt16BigEndian(message[at..]);
        ushort recordClass = BinaryPrimitives.ReadUInt16BigEndian(message[(at + 2)..]);
        uint seconds = BinaryPrimitives.ReadUInt32BigEndian(message[(at + 4)..]);
        // A time to live with the highest bit set counts as 0 (RFC 2181, section 8).
        seconds = seconds > int.MaxValue ? 0 : seconds;
        int length = BinaryPrimitives.ReadUInt16BigEndian(message[(at + 8)..]);
        at += FixedBytes;
        if (message.Length < at + length)
        {
            return false;
        }

        int start = at;
        at += length;
        if (recordClass != Internet)
        {
            return true;
        }

        if (type == wanted)
        {
            if (length != (type == DnsType.A ? 4 : 16))
            {
                return false;
            }

            addresses.Add((owner, new IPAddress(message.Slice(start, length)), seconds));
        }
        else if (type == DnsType.Cname)
        {
            int end = start;
            if (ReadName(message, ref end, followPointers: true) is not { } target || end != at)
            {
                return false;
            }

            aliases.TryAdd(owner, (target, seconds));
        }

        return true;
    }

    // In lower case. Each pointer must lead further back than where the labels before it began: so none is followed twice.
    private static string? ReadName(ReadOnlySpan<byte> message, ref int at, bool followPointers)
    {
        var name = new StringBuilder();
        int nameBytes = 1;
        int position = at;
        int began = at;
        bool hasJumped = false;
        while (position < message.Length)
        {
            int length = message[position];
            if (length == 0)
            {
                at = hasJumped ? at : position + 1;
                return name.ToString();
            }

            if (length > MostLabelBytes)
            {
                const int PointerBits = 0xC0;
                if (!followPointers || length < PointerBits || position + 1 >= message.Length)
                {
                    return null;
                }

                int target = ((length & ~PointerBits) << 8) | message[position + 1];
                if (target >= began)
                {
                    return null;
                }

                at = hasJumped ? at : position + 2;
                hasJumped = true;
                began = position = target;
                continue;
            }

            nameBytes += 1 + length;
            if (nameBytes > MostNameBytes || position + 1 + length > message.Length)
            {
                return null;
            }

            if (name.Length > 0)
            {
                name.Append('.');
            }

            foreach (byte value in message.Slice(position + 1, length))
            {
                if (char.IsAsciiLetterOrDigit((char)value) || value is (byte)'-' or (byte)'_')
                {
                    name.Append(char.ToLowerInvariant((char)value));
                }
                else
                {
                    // A dot within a label, say, must not make two of it.
                    name.Append(CultureInfo.InvariantCulture, $"\\{value:000}");
                }
            }

            position += 1 + length;
        }

        return null;
    }

    private static int Count(ReadOnlySpan<byte> message, int section) => BinaryPrimitives.ReadUInt16BigEndian(message[(4 + (2 * section))..]);
}
