using System.Net;

namespace Boxer.Network;

/// <summary>
/// Ranges that are not the public internet (the IANA special-purpose address registries, RFC 6890). Documentation and reserved ranges
/// are not here: what answers in them is nobody's private service.
/// </summary>
internal static class SpecialRanges
{
    private static readonly IPNetwork[] Private = [IPNetwork.Parse("10.0.0.0/8"), IPNetwork.Parse("172.16.0.0/12"), IPNetwork.Parse("192.168.0.0/16")];

    internal static IReadOnlyList<IPNetwork> IPv4 { get; } =
    [
        IPNetwork.Parse("0.0.0.0/8"), // this network
        IPNetwork.Parse("10.0.0.0/8"), // private
        IPNetwork.Parse("100.64.0.0/10"), // carrier-grade NAT; 100.100.100.200 is a cloud's metadata service
        IPNetwork.Parse("127.0.0.0/8"), // loopback
        IPNetwork.Parse("168.63.129.16/32"), // a cloud's metadata and agent service at a public address
        IPNetwork.Parse("169.254.0.0/16"), // link-local, with 169.254.169.254
        IPNetwork.Parse("172.16.0.0/12"), // private
        IPNetwork.Parse("192.0.0.192/32"), // a cloud's metadata service
        IPNetwork.Parse("192.168.0.0/16"), // private
        IPNetwork.Parse("224.0.0.0/4"), // multicast
        IPNetwork.Parse("255.255.255.255/32"), // broadcast
    ];

    internal static IReadOnlyList<IPNetwork> IPv6 { get; } =
    [
        IPNetwork.Parse("::/96"), // unspecified, loopback, IPv4-compatible
        IPNetwork.Parse("::ffff:0:0/96"), // IPv4-mapped
        IPNetwork.Parse("64:ff9b::/96"), // NAT64, that leads to IPv4 addresses
        IPNetwork.Parse("64:ff9b:1::/48"), // NAT64 of a network's own
        IPNetwork.Parse("100::/64"), // discarded
        IPNetwork.Parse("2001::/32"), // Teredo, that leads to IPv4 addresses
        IPNetwork.Parse("2002::/16"), // 6to4, that leads to IPv4 addresses
        IPNetwork.Parse("fc00::/7"), // unique local; fd00:ec2::254 is a cloud's metadata service
        IPNetwork.Parse("fe80::/10"), // link-local
        IPNetwork.Parse("fec0::/10"), // site-local
        IPNetwork.Parse("ff00::/8"), // multicast
    ];

    internal static bool IsPrivate(IPNetwork block) => Private.Any(range => range.PrefixLength <= block.PrefixLength && range.Contains(block.BaseAddress));

    private static IEnumerable<IPNetwork> All => IPv4.Concat(IPv6);

    /// <summary>Whether all of a range is in one of these: only such a rule was meant to open what is not public.</summary>
    internal static bool Contains(IPNetwork range) => All.Any(special => special.PrefixLength <= range.PrefixLength && special.Contains(range.BaseAddress));

    internal static bool Contains(IPAddress address) => All.Any(range => range.Contains(address));
}
