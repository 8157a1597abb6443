using System.Buffers.Binary;
using System.Net;

namespace Boxer.Network.Dns;

/// <summary>The response to a <see cref="DnsQuery"/>.</summary>
/// <param name="Code">The response code.</param>
/// <param name="Addresses">Addresses of the requested type.</param>
/// <param name="Seconds">Their time to live in seconds.</param>
internal sealed record DnsResponse(DnsCode Code, IReadOnlyList<IPAddress> Addresses, uint Seconds)
{
    /// <summary>A response without addresses.</summary>
    internal DnsResponse(DnsCode code)
        : this(code, [], 0)
    {
    }

    /// <summary>Writes the message.</summary>
    /// <param name="query">The query to respond to.</param>
    /// <param name="maxBytes">Maximum size. Addresses beyond it are left out, and the message is marked as truncated.</param>
    internal byte[] Write(DnsQuery query, int maxBytes)
    {
        const int RecordHeaderBytes = 12;
        int addressBytes = DnsMessage.AddressBytes(query.Type);
        int fitting = Math.Min(Addresses.Count, (maxBytes - DnsMessage.HeaderBytes - query.Question.Length) / (RecordHeaderBytes + addressBytes));
        var message = new byte[DnsMessage.HeaderBytes + query.Question.Length + (fitting * (RecordHeaderBytes + addressBytes))];
        BinaryPrimitives.WriteUInt16BigEndian(message, query.Id);
        message[2] = (byte)(DnsMessage.ResponseBit | (query.Flags & (DnsMessage.OpcodeBits | DnsMessage.RecursionDesiredBit)) | (fitting < Addresses.Count ? DnsMessage.TruncatedBit : 0));
        message[3] = (byte)(DnsMessage.RecursionAvailableBit | (byte)Code);
        message[5] = (byte)(query.Question.IsEmpty ? 0 : 1);
        BinaryPrimitives.WriteUInt16BigEndian(message.AsSpan(6), (ushort)fitting);
        query.Question.Span.CopyTo(message.AsSpan(DnsMessage.HeaderBytes));
        Span<byte> rest = message.AsSpan(DnsMessage.HeaderBytes + query.Question.Length);
        foreach (IPAddress address in Addresses.Take(fitting))
        {
            // The owner is a pointer to the name in the question.
            BinaryPrimitives.WriteUInt16BigEndian(rest, 0xC000 | DnsMessage.HeaderBytes);
            BinaryPrimitives.WriteUInt16BigEndian(rest[2..], (ushort)query.Type);
            BinaryPrimitives.WriteUInt16BigEndian(rest[4..], DnsMessage.InternetClass);
            BinaryPrimitives.WriteUInt32BigEndian(rest[6..], Seconds);
            BinaryPrimitives.WriteUInt16BigEndian(rest[10..], (ushort)addressBytes);
            address.TryWriteBytes(rest[RecordHeaderBytes..], out _);
            rest = rest[(RecordHeaderBytes + addressBytes)..];
        }

        return message;
    }
}
