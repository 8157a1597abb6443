using System.Buffers.Binary;

namespace Boxer.Network.Dns;

/// <summary>A DNS query that a sandbox sent.</summary>
/// <param name="Id">The identifier of the message.</param>
/// <param name="Flags">The third byte of the message: the kind of query, and whether recursion is desired.</param>
/// <param name="Question">The question as it was sent, in the sender's letter case; empty if there is a fault.</param>
/// <param name="Name">The name, as <see cref="DnsName"/> reads it.</param>
/// <param name="Type">The requested type; any value is possible.</param>
/// <param name="Class">The class.</param>
/// <param name="Fault">The reason why the query cannot be answered, or <see cref="DnsCode.NoError"/>.</param>
internal sealed record DnsQuery(ushort Id, byte Flags, ReadOnlyMemory<byte> Question, string Name, DnsType Type, ushort Class, DnsCode Fault)
{
    /// <summary>Parses a message of a sandbox.</summary>
    /// <returns><see langword="null"/> if the message gets no response.</returns>
    internal static DnsQuery? Parse(ReadOnlyMemory<byte> message)
    {
        ReadOnlySpan<byte> bytes = message.Span;

        // A response gets no response: two servers could answer each other forever.
        if (bytes.Length < DnsMessage.HeaderBytes || (bytes[2] & DnsMessage.ResponseBit) != 0)
        {
            return null;
        }

        ushort id = BinaryPrimitives.ReadUInt16BigEndian(bytes);
        if ((bytes[2] & DnsMessage.OpcodeBits) != 0)
        {
            return Faulty(DnsCode.NotImplemented);
        }

        // Additional records are extensions (EDNS), which a server may ignore.
        int at = DnsMessage.HeaderBytes;
        if (DnsMessage.Count(bytes, 0) != 1 || DnsMessage.Count(bytes, 1) != 0 || DnsMessage.Count(bytes, 2) != 0
            || DnsName.Read(bytes, ref at, followPointers: false) is not { } name || bytes.Length < at + 4)
        {
            return Faulty(DnsCode.FormatError);
        }

        return new DnsQuery(
            id,
            bytes[2],
            message[DnsMessage.HeaderBytes..(at + 4)],
            name,
            (DnsType)BinaryPrimitives.ReadUInt16BigEndian(bytes[at..]),
            BinaryPrimitives.ReadUInt16BigEndian(bytes[(at + 2)..]),
            DnsCode.NoError);

        DnsQuery Faulty(DnsCode fault) => new(id, message.Span[2], ReadOnlyMemory<byte>.Empty, "", DnsType.None, 0, fault);
    }
}
