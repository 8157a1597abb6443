using System.Buffers.Binary;
using System.Net;

namespace Boxer.Network.Links;

/// <summary>Unique local IPv6 addresses (RFC 4193). The identifier of an instance is random, and each link has another number.</summary>
internal static class UniqueLocal
{
    private const int PrefixBits = 48;

    /// <summary>The /48 range of an instance.</summary>
    internal static IPNetwork PrefixOf(string instanceId)
    {
        Span<byte> bytes = stackalloc byte[16];
        bytes.Clear();
        bytes[0] = 0xfd;
        Convert.FromHexString(instanceId).CopyTo(bytes[1..]);
        return new IPNetwork(new IPAddress(bytes), PrefixBits);
    }

    /// <summary>The /127 range of a link (RFC 6164).</summary>
    internal static AddressPair PairOf(IPNetwork prefix, uint number)
    {
        byte[] bytes = prefix.BaseAddress.GetAddressBytes();
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(8), number);
        var host = new IPAddress(bytes);
        bytes[^1] = 1;
        return new AddressPair(host, new IPAddress(bytes));
    }
}
