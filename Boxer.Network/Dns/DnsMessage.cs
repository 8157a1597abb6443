using System.Buffers.Binary;
using System.Text;

namespace Boxer.Network.Dns;

/// <summary>
/// The parts of a DNS message (RFC 1035) that its readers and writers share: <see cref="DnsQuery"/>, <see cref="DnsResponse"/> and
/// <see cref="UpstreamAnswer"/>. Messages come from untrusted senders: readers check every length, and bound the work for a message.
/// </summary>
internal static class DnsMessage
{
    /// <summary>The class of the internet.</summary>
    internal const ushort InternetClass = 1;

    /// <summary>Maximum size of a query, and of a response over UDP, in bytes (RFC 1035, section 4.2.1).</summary>
    internal const int MaxDatagramBytes = 512;

    internal const int HeaderBytes = 12;

    // Bits of the third and the fourth byte of the header.
    internal const byte ResponseBit = 0x80;
    internal const byte OpcodeBits = 0x78;
    internal const byte TruncatedBit = 0x02;
    internal const byte RecursionDesiredBit = 0x01;
    internal const byte RecursionAvailableBit = 0x80;

    /// <summary>Number of entries in a section of a message.</summary>
    /// <param name="message">The message.</param>
    /// <param name="section">0 for questions, 1 for answers, 2 for authorities, 3 for additional records.</param>
    internal static int Count(ReadOnlySpan<byte> message, int section) => BinaryPrimitives.ReadUInt16BigEndian(message[(4 + (2 * section))..]);

    /// <summary>Size of an address in a record of type A or AAAA, in bytes.</summary>
    internal static int AddressBytes(DnsType type) => type == DnsType.A ? 4 : 16;

    /// <summary>Writes a query for the addresses of a host name.</summary>
    internal static byte[] WriteQuery(ushort id, string name, DnsType type)
    {
        // A label has its length before it. The root label of length 0 ends the name.
        var message = new byte[HeaderBytes + name.Length + 2 + 4];
        BinaryPrimitives.WriteUInt16BigEndian(message, id);
        message[2] = RecursionDesiredBit;
        message[5] = 1;
        int at = HeaderBytes;
        foreach (string label in name.Split('.'))
        {
            message[at] = (byte)label.Length;
            at += 1 + Encoding.ASCII.GetBytes(label, message.AsSpan(at + 1));
        }

        BinaryPrimitives.WriteUInt16BigEndian(message.AsSpan(at + 1), (ushort)type);
        BinaryPrimitives.WriteUInt16BigEndian(message.AsSpan(at + 3), InternetClass);
        return message;
    }
}
