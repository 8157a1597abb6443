using System.Buffers.Binary;
using System.Net;

namespace Boxer.Network.Dns;

/// <summary>The answer of an upstream resolver.</summary>
/// <param name="Code">The response code.</param>
/// <param name="IsTruncated">Whether the answer did not fit into a datagram. It then has no addresses here, and the query is repeated over TCP.</param>
/// <param name="Addresses">The addresses of the name, also those that aliases of it lead to.</param>
/// <param name="Seconds">The shortest time to live, in seconds, of the addresses and of the aliases that lead to them.</param>
internal sealed record UpstreamAnswer(DnsCode Code, bool IsTruncated, IReadOnlyList<IPAddress> Addresses, uint Seconds)
{
    private const int MaxRecords = 256;
    private const int MaxAliases = 16;

    /// <summary>Parses a message.</summary>
    /// <returns><see langword="null"/> if the message is malformed or does not answer the query.</returns>
    internal static UpstreamAnswer? Parse(ReadOnlySpan<byte> message, ushort id, string name, DnsType type)
    {
        int at = DnsMessage.HeaderBytes;
        if (!IsAnswerTo(message, ref at, id, name, type))
        {
            return null;
        }

        var code = (DnsCode)(message[3] & 0x0F);
        if ((message[2] & DnsMessage.TruncatedBit) != 0)
        {
            return new UpstreamAnswer(code, IsTruncated: true, [], 0);
        }

        var records = new AddressRecords(type);
        for (int record = Math.Min(DnsMessage.Count(message, 1), MaxRecords); record > 0; record--)
        {
            if (!records.TryRead(message, ref at))
            {
                return null;
            }
        }

        return records.Resolve(code, name);
    }

    private static bool IsAnswerTo(ReadOnlySpan<byte> message, ref int at, ushort id, string name, DnsType type)
    {
        if (message.Length < DnsMessage.HeaderBytes
            || BinaryPrimitives.ReadUInt16BigEndian(message) != id
            || (message[2] & (DnsMessage.ResponseBit | DnsMessage.OpcodeBits)) != DnsMessage.ResponseBit
            || DnsMessage.Count(message, 0) != 1
            || DnsName.Read(message, ref at, followPointers: false) != name
            || message.Length < at + 4
            || BinaryPrimitives.ReadUInt16BigEndian(message[at..]) != (ushort)type
            || BinaryPrimitives.ReadUInt16BigEndian(message[(at + 2)..]) != DnsMessage.InternetClass)
        {
            return false;
        }

        at += 4;
        return true;
    }

    /// <summary>The records of an answer that lead to addresses of one type.</summary>
    private sealed class AddressRecords(DnsType type)
    {
        private readonly List<(string Owner, IPAddress Address, uint Seconds)> _addresses = [];
        private readonly Dictionary<string, (string Target, uint Seconds)> _aliases = new(StringComparer.Ordinal);

        /// <summary>Reads the next record. Records of other types and classes are skipped.</summary>
        /// <returns>Whether the record is well-formed.</returns>
        internal bool TryRead(ReadOnlySpan<byte> message, ref int at)
        {
            const int FixedBytes = 10;
            if (DnsName.Read(message, ref at, followPointers: true) is not { } owner || message.Length < at + FixedBytes)
            {
                return false;
            }

            var recordType = (DnsType)BinaryPrimitives.ReadUInt16BigEndian(message[at..]);
            ushort recordClass = BinaryPrimitives.ReadUInt16BigEndian(message[(at + 2)..]);
            uint seconds = BinaryPrimitives.ReadUInt32BigEndian(message[(at + 4)..]);

            // A time to live with the highest bit set counts as 0 (RFC 2181, section 8).
            seconds = seconds > int.MaxValue ? 0 : seconds;
            int start = at + FixedBytes;
            at = start + BinaryPrimitives.ReadUInt16BigEndian(message[(at + 8)..]);
            return message.Length >= at
                && (recordClass != DnsMessage.InternetClass || TryAdd(message, start, at, owner, recordType, seconds));
        }

        /// <summary>Follows the aliases of a name to its addresses. Addresses of other names are not used.</summary>
        internal UpstreamAnswer Resolve(DnsCode code, string name)
        {
            uint seconds = uint.MaxValue;
            for (int step = 0; step <= MaxAliases; step++)
            {
                (string Owner, IPAddress Address, uint Seconds)[] own = [.. _addresses.Where(record => record.Owner == name)];
                if (own.Length > 0)
                {
                    return new UpstreamAnswer(code, IsTruncated: false, [.. own.Select(record => record.Address)], Math.Min(seconds, own.Min(record => record.Seconds)));
                }

                if (!_aliases.TryGetValue(name, out (string Target, uint Seconds) alias))
                {
                    break;
                }

                (name, seconds) = (alias.Target, Math.Min(seconds, alias.Seconds));
            }

            return new UpstreamAnswer(code, IsTruncated: false, [], 0);
        }

        private bool TryAdd(ReadOnlySpan<byte> message, int start, int end, string owner, DnsType recordType, uint seconds)
        {
            if (recordType == type)
            {
                if (end - start != DnsMessage.AddressBytes(type))
                {
                    return false;
                }

                _addresses.Add((owner, new IPAddress(message[start..end]), seconds));
            }
            else if (recordType == DnsType.Cname)
            {
                int nameEnd = start;
                if (DnsName.Read(message, ref nameEnd, followPointers: true) is not { } target || nameEnd != end)
                {
                    return false;
                }

                _aliases.TryAdd(owner, (target, seconds));
            }

            return true;
        }
    }
}
