using System.Net;
using System.Net.Sockets;
using Boxer.Common;
using Boxer.Networking;

namespace Boxer.Tests.Core.Common;

/// <summary>The list of special ranges, compared with the IANA special-purpose address registries.</summary>
public sealed class SpecialAddressRangesTests
{
    /// <summary>
    /// Every entry of the IANA IPv4 and IPv6 Special-Purpose Address Registries with its treatment: reachable for the registry client and sandboxes
    /// (public), only for sandboxes (documentation), or for neither (closed).
    /// </summary>
    public static TheoryData<string, string> Registered() => new()
    {
        { "0.0.0.0/8", "closed" },
        { "0.0.0.0/32", "closed" },
        { "10.0.0.0/8", "closed" },
        { "100.64.0.0/10", "closed" },
        { "127.0.0.0/8", "closed" },
        { "169.254.0.0/16", "closed" },
        { "172.16.0.0/12", "closed" },
        { "192.0.0.0/24", "closed" },
        { "192.0.0.0/29", "closed" },
        { "192.0.0.8/32", "closed" },
        { "192.0.0.9/32", "closed" },
        { "192.0.0.10/32", "closed" },
        { "192.0.0.170/32", "closed" },
        { "192.0.0.171/32", "closed" },
        { "192.0.2.0/24", "documentation" },
        { "192.31.196.0/24", "public" },
        { "192.52.193.0/24", "public" },
        { "192.88.99.0/24", "closed" },
        { "192.88.99.2/32", "closed" },
        { "192.168.0.0/16", "closed" },
        { "192.175.48.0/24", "public" },
        { "198.18.0.0/15", "closed" },
        { "198.51.100.0/24", "documentation" },
        { "203.0.113.0/24", "documentation" },
        { "240.0.0.0/4", "closed" },
        { "255.255.255.255/32", "closed" },
        { "::1/128", "closed" },
        { "::/128", "closed" },
        { "64:ff9b:1::/48", "closed" },
        { "100::/64", "closed" },
        { "100:0:0:1::/64", "closed" },
        { "2001::/23", "closed" },
        { "2001::/32", "closed" },
        { "2001:1::1/128", "closed" },
        { "2001:1::2/128", "closed" },
        { "2001:1::3/128", "closed" },
        { "2001:2::/48", "closed" },
        { "2001:3::/32", "closed" },
        { "2001:4:112::/48", "closed" },
        { "2001:10::/28", "closed" },
        { "2001:20::/28", "closed" },
        { "2001:30::/28", "closed" },
        { "2001:db8::/32", "documentation" },
        { "2002::/16", "closed" },
        { "2620:4f:8000::/48", "public" },
        { "3fff::/20", "documentation" },
        { "5f00::/16", "closed" },
        { "fc00::/7", "closed" },
        { "fe80::/10", "closed" },
    };

    [Theory]
    [MemberData(nameof(Registered))]
    public void All_treats_entries_of_the_registries_as_listed(string range, string treatment)
    {
        IPNetwork network = IPNetwork.Parse(range);
        foreach (IPAddress address in (IPAddress[])[network.BaseAddress, Last(network)])
        {
            Assert.Equal(treatment == "public", SpecialAddressRanges.IsPublic(address));
            Assert.Equal(treatment == "closed", SpecialAddressRanges.IsClosedToGuests(address));
            Assert.Equal(treatment == "closed", Guest(address).Any(closed => closed.Contains(address)));
        }

        Assert.Equal(treatment == "closed", SpecialAddressRanges.CanBeOpened(network));
    }

    // The registry client uses the IPv4 address in the IPv6 address. Sandboxes reach neither form: the firewall only knows the IPv4 form.
    [Theory]
    [InlineData("::ffff:8.8.8.8", true)]
    [InlineData("::ffff:10.0.0.1", false)]
    [InlineData("64:ff9b::808:808", true)]
    [InlineData("64:ff9b::a00:1", false)]
    [InlineData("2606:4700::1111", true)]
    [InlineData("8.8.8.8", true)]
    [InlineData("168.63.129.16", false)]
    [InlineData("168.63.129.17", true)]
    [InlineData("fe80::1%1", false)]
    [InlineData("2600::1%1", false)]
    [InlineData("4000::1", false)]
    [InlineData("8000::1", false)]
    [InlineData("ffff::1", false)]
    public void IsPublic_classifies_addresses(string text, bool isPublic)
    {
        var address = IPAddress.Parse(text);
        Assert.Equal(isPublic, SpecialAddressRanges.IsPublic(address));
        if (address.AddressFamily == AddressFamily.InterNetworkV6 && (address.IsIPv4MappedToIPv6 || text.StartsWith("64:", StringComparison.Ordinal)))
        {
            Assert.True(SpecialAddressRanges.IsClosedToGuests(address));
        }
    }

    [Fact]
    public void GuestIPv4_and_GuestIPv6_do_not_overlap_and_cover_all_closed_ranges()
    {
        foreach (IReadOnlyList<IPNetwork> ranges in (IReadOnlyList<IPNetwork>[])[SpecialAddressRanges.GuestIPv4, SpecialAddressRanges.GuestIPv6])
        {
            Assert.DoesNotContain(ranges, range => ranges.Any(other => !other.Equals(range) && other.Contains(range.BaseAddress)));
        }

        Assert.All(
            SpecialAddressRanges.All.Where(entry => entry.Use != SpecialUse.Documentation),
            entry => Assert.Contains(Guest(entry.Range.BaseAddress), closed => Covers(closed, entry.Range)));
        Assert.All(SpecialAddressRanges.All, entry => Assert.NotEmpty(entry.Source));
    }

    [Theory]
    [InlineData("0.0.0.0/0")]
    [InlineData("8.0.0.0/5")]
    [InlineData("::/0")]
    [InlineData("::/3")]
    [InlineData("8000::/1")]
    [InlineData("198.51.100.0/24")]
    public void CanBeOpened_rejects_wide_and_public_ranges(string range)
    {
        Assert.False(SpecialAddressRanges.CanBeOpened(IPNetwork.Parse(range)));
        var policy = NetworkPolicy.Combine(new EgressPolicy { Allow = [range] }, null, replaces: false);
        Assert.Empty(policy.Layers[0].PrivateRules);
    }

    [Theory]
    [InlineData("10.231.0.0/16", true)]
    [InlineData("172.31.0.0/24", true)]
    [InlineData("100.64.0.0/16", false)]
    [InlineData("8.8.8.0/24", false)]
    [InlineData("0.0.0.0/0", false)]
    public void IsPrivate_recognizes_blocks_for_private_use(string block, bool isPrivate) => Assert.Equal(isPrivate, SpecialAddressRanges.IsPrivate(IPNetwork.Parse(block)));

    private static IReadOnlyList<IPNetwork> Guest(IPAddress address) =>
        address.AddressFamily == AddressFamily.InterNetwork ? SpecialAddressRanges.GuestIPv4 : SpecialAddressRanges.GuestIPv6;

    // Compares bytes, like the firewall: IPNetwork converts an IPv4-mapped address to the IPv4 address.
    private static bool Covers(IPNetwork range, IPNetwork other) =>
        range.PrefixLength <= other.PrefixLength
        && Enumerable.Range(0, range.PrefixLength).All(bit => Bit(range.BaseAddress, bit) == Bit(other.BaseAddress, bit));

    private static bool Bit(IPAddress address, int bit) => (address.GetAddressBytes()[bit / 8] & (0x80 >> (bit % 8))) != 0;

    private static IPAddress Last(IPNetwork network)
    {
        byte[] bytes = network.BaseAddress.GetAddressBytes();
        for (int bit = network.PrefixLength; bit < bytes.Length * 8; bit++)
        {
            bytes[bit / 8] |= (byte)(0x80 >> (bit % 8));
        }

        return new IPAddress(bytes);
    }
}
