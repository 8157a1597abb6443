using System.Net;
using System.Net.Sockets;

namespace Boxer.Common;

/// <summary>
/// Address ranges outside of the public internet: the IANA special-purpose address registries (RFC 6890), and addresses of cloud services. The
/// registry client, egress policies, the resolver and the firewall all use this list.
/// </summary>
internal static class SpecialAddressRanges
{
    private static readonly IPNetwork Nat64 = IPNetwork.Parse("64:ff9b::/96");

    /// <summary>All entries. Ranges can overlap.</summary>
    internal static IReadOnlyList<SpecialRange> All { get; } =
    [
        new("0.0.0.0/8", "this network", "RFC 791"),
        new("10.0.0.0/8", "private use", "RFC 1918", SpecialUse.Private),
        new("100.64.0.0/10", "carrier-grade NAT; 100.100.100.200 is a metadata service of a cloud", "RFC 6598"),
        new("127.0.0.0/8", "loopback", "RFC 1122"),
        new("168.63.129.16/32", "metadata and agent service of a cloud, at a public address", "its vendor"),
        new("169.254.0.0/16", "link-local, with the metadata service 169.254.169.254", "RFC 3927"),
        new("172.16.0.0/12", "private use", "RFC 1918", SpecialUse.Private),
        new("192.0.0.0/24", "protocol assignments; 192.0.0.192 is a metadata service of a cloud", "RFC 6890"),
        new("192.0.2.0/24", "documentation", "RFC 5737", SpecialUse.Documentation),
        new("192.88.99.0/24", "6to4 relays, deprecated", "RFC 7526"),
        new("192.168.0.0/16", "private use", "RFC 1918", SpecialUse.Private),
        new("198.18.0.0/15", "benchmarking", "RFC 2544"),
        new("198.51.100.0/24", "documentation", "RFC 5737", SpecialUse.Documentation),
        new("203.0.113.0/24", "documentation", "RFC 5737", SpecialUse.Documentation),
        new("224.0.0.0/4", "multicast", "RFC 5771"),
        new("240.0.0.0/4", "reserved, with the broadcast address", "RFC 1112, RFC 8190"),
        new("::/96", "unspecified, loopback, IPv4-compatible", "RFC 4291"),
        new("::ffff:0:0/96", "IPv4-mapped", "RFC 4291"),
        new("64:ff9b::/96", "NAT64, which leads to IPv4 addresses", "RFC 6052"),
        new("64:ff9b:1::/48", "NAT64 of a network's own", "RFC 8215"),
        new("100::/64", "discarded", "RFC 6666"),
        new("100:0:0:1::/64", "dummy prefix", "RFC 9780"),
        new("2001::/23", "protocol assignments, with Teredo, which leads to IPv4 addresses", "RFC 2928, RFC 4380"),
        new("2001:db8::/32", "documentation", "RFC 3849", SpecialUse.Documentation),
        new("2002::/16", "6to4, which leads to IPv4 addresses", "RFC 3056"),
        new("3fff::/20", "documentation", "RFC 9637", SpecialUse.Documentation),
        new("5f00::/16", "segment routing", "RFC 9602"),
        new("fc00::/7", "unique local; fd00:ec2::254 is a metadata service of a cloud", "RFC 4193"),
        new("fe80::/10", "link-local", "RFC 4291"),
        new("fec0::/10", "site-local, deprecated", "RFC 3879"),
        new("ff00::/8", "multicast", "RFC 4291"),

        // Global unicast addresses are in 2000::/3. The rest is not assigned.
        new("::/3", "outside of global unicast", "RFC 4291", SpecialUse.Unassigned),
        new("4000::/2", "outside of global unicast", "RFC 4291", SpecialUse.Unassigned),
        new("8000::/1", "outside of global unicast", "RFC 4291", SpecialUse.Unassigned),
    ];

    /// <summary>IPv4 ranges that sandboxes cannot reach unless the operator allows them.</summary>
    internal static IReadOnlyList<IPNetwork> GuestIPv4 { get; } = Guest(AddressFamily.InterNetwork);

    /// <summary>IPv6 ranges that sandboxes cannot reach unless the operator allows them.</summary>
    internal static IReadOnlyList<IPNetwork> GuestIPv6 { get; } = Guest(AddressFamily.InterNetworkV6);

    /// <summary>Whether a block is in a range for private use (RFC 1918).</summary>
    internal static bool IsPrivate(IPNetwork block) => All.Any(entry => entry.Use == SpecialUse.Private && entry.Covers(block));

    /// <summary>
    /// Whether a rule for a range may open it to sandboxes: one entry must contain the whole range. A wider rule is not meant to open private ranges.
    /// </summary>
    internal static bool CanBeOpened(IPNetwork range) => All.Any(entry => entry.Use is not (SpecialUse.Documentation or SpecialUse.Unassigned) && entry.Covers(range));

    /// <summary>Whether sandboxes cannot reach an address unless the operator allows it.</summary>
    internal static bool IsClosedToGuests(IPAddress address) => All.Any(entry => entry.Use != SpecialUse.Documentation && entry.Range.Contains(address));

    /// <summary>
    /// Whether an address belongs to the public internet, which is required of registries and token services. An IPv6 address that contains an IPv4
    /// address (IPv4-mapped, NAT64) counts as that IPv4 address.
    /// </summary>
    internal static bool IsPublic(IPAddress address)
    {
        if (address.IsIPv4MappedToIPv6)
        {
            address = address.MapToIPv4();
        }
        else if (Nat64.Contains(address))
        {
            address = new IPAddress(address.GetAddressBytes().AsSpan(12));
        }

        return (address.AddressFamily == AddressFamily.InterNetwork || address.ScopeId == 0) && !All.Any(entry => entry.Range.Contains(address));
    }

    // Ranges that another one covers are left out.
    private static IReadOnlyList<IPNetwork> Guest(AddressFamily family)
    {
        SpecialRange[] closed = [.. All.Where(entry => entry.Use != SpecialUse.Documentation && entry.Range.BaseAddress.AddressFamily == family)];
        return [.. closed.Where(entry => !closed.Any(other => other != entry && other.Covers(entry.Range))).Select(entry => entry.Range)];
    }
}

/// <summary>Entry of <see cref="SpecialAddressRanges"/>.</summary>
/// <param name="Cidr">Range in CIDR notation.</param>
/// <param name="Name">Purpose of the range.</param>
/// <param name="Source">Document that assigns the range.</param>
/// <param name="Use">Treatment of the range.</param>
internal sealed record SpecialRange(string Cidr, string Name, string Source, SpecialUse Use = SpecialUse.Special)
{
    internal IPNetwork Range { get; } = IPNetwork.Parse(Cidr);

    internal bool Covers(IPNetwork other) => Range.PrefixLength <= other.PrefixLength && Range.Contains(other.BaseAddress);
}

/// <summary>Treatment of a <see cref="SpecialRange"/>.</summary>
internal enum SpecialUse
{
    /// <summary>Not public.</summary>
    Special,

    /// <summary>Not public, for private networks. Addresses of sandboxes can be in it.</summary>
    Private,

    /// <summary>
    /// Closed to registries. Sandboxes may reach it: it contains no private service, and examples of rules use it.
    /// </summary>
    Documentation,

    /// <summary>Not public. A rule cannot open it.</summary>
    Unassigned,
}
