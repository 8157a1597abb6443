using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Boxer.Common;
using Boxer.Network.Links;
using Boxer.Network.Tools;

namespace Boxer.Network.Firewalls;

/// <summary>
/// The parts of an instance's nftables table that all its sandboxes share. Verdict maps find the chains of a sandbox by its link, so that
/// a packet costs the same however many sandboxes run.
/// </summary>
/// <remarks>
/// Maps and sets: <c>owners</c> has the source addresses that each link may use, <c>zones</c> its connection tracking zone. <c>from</c>,
/// <c>to</c>, <c>local</c> and <c>names</c> lead to the chains for packets that a sandbox sends to other machines, that it receives, that it
/// sends to this host, and that it sends to DNS servers. <c>upstream</c> (by socket priority) and <c>answers</c> (by connection mark) lead
/// DNS packets between this host and its DNS servers to the quota of the sandbox that asked.
/// </remarks>
internal static class FirewallTable
{
    private const string NamePrefix = "boxer_";

    // The kernel reassembles fragments at priority -400 (NF_IP_PRI_CONNTRACK_DEFRAG), in one queue for all links. Forged ones must not get there.
    private const string BeforeDefragmentation = "-450";

    /// <summary>The family and the name of the table of an instance.</summary>
    internal static string NameOf(string instanceId) => $"inet {NamePrefix}{instanceId}";

    /// <summary>Finds the instances that have a table on this host.</summary>
    internal static async Task<IReadOnlyList<string>> FindInstancesAsync(NetworkTools tools, CancellationToken cancellationToken)
    {
        string output = await tools.NftJsonAsync(["list", "tables", "inet"], cancellationToken).ConfigureAwait(false);
        return ToolOutput.Parse("nft", Parse);

        string[] Parse()
        {
            using var document = JsonDocument.Parse(output);
            return [.. ToolOutput.NftObjects(document, "table")
                .Select(table => table.GetProperty("name").GetString() ?? "")
                .Where(name => name.StartsWith(NamePrefix, StringComparison.Ordinal) && LinkNames.IsId(name[NamePrefix.Length..]))
                .Select(name => name[NamePrefix.Length..])];
        }
    }

    /// <summary>Creates the table, without rules for any sandbox.</summary>
    /// <param name="instanceId">The instance.</param>
    /// <param name="ipv6">The IPv6 range of the instance's sandboxes; <see langword="null"/>: they have no IPv6, and all of it is dropped.</param>
    /// <param name="resolvers">The DNS servers that sandboxes without a resolver of their own may reach.</param>
    internal static string CreationScript(string instanceId, IPNetwork? ipv6, IEnumerable<IPAddress> resolvers)
    {
        string table = NameOf(instanceId);
        IEnumerable<string> resolverElements = resolvers
            .GroupBy(address => address.AddressFamily == AddressFamily.InterNetwork ? "resolvers" : "resolvers6")
            .Select(set => $"add element {table} {set.Key} {{ {string.Join(", ", set.Distinct())} }}\n");
        return SetsAndMaps(table) + Chains(table, $"\"{LinkNames.Prefix(instanceId)}*\"", ipv6) + string.Concat(resolverElements);
    }

    private static string SetsAndMaps(string table) =>
        $$"""
        add table {{table}}
        add set {{table}} special { type ipv4_addr; flags interval; auto-merge; elements = { {{string.Join(", ", SpecialAddressRanges.GuestIPv4)}} }; }
        add set {{table}} resolvers { type ipv4_addr; }
        add set {{table}} pool { type ipv4_addr; flags interval; auto-merge; }
        add set {{table}} owners { type ifname . ipv4_addr; }
        add set {{table}} listeners { type ipv4_addr . inet_service; }
        add set {{table}} special6 { type ipv6_addr; flags interval; auto-merge; elements = { {{string.Join(", ", SpecialAddressRanges.GuestIPv6)}} }; }
        add set {{table}} resolvers6 { type ipv6_addr; }
        add set {{table}} owners6 { type ifname . ipv6_addr; }
        add map {{table}} zones { typeof iifname : ct zone; }
        add map {{table}} from { type ifname : verdict; }
        add map {{table}} to { type ifname : verdict; }
        add map {{table}} local { type ifname : verdict; }
        add map {{table}} names { type ifname : verdict; }
        add map {{table}} upstream { type classid : verdict; }
        add map {{table}} answers { type mark : verdict; }

        """;

    private static string Chains(string table, string links, IPNetwork? ipv6) =>
        $$"""
        add chain {{table}} base_raw { type filter hook prerouting priority {{BeforeDefragmentation}}; policy accept; }
        add rule {{table}} base_raw iifname != {{links}} accept
        add rule {{table}} base_raw iifname . ip saddr != @owners drop
        add rule {{table}} base_raw {{(ipv6 is null ? "meta nfproto ipv6 drop" : "iifname . ip6 saddr != @owners6 drop")}}
        add rule {{table}} base_raw ct original zone set iifname map @zones
        add chain {{table}} base_dstnat { type nat hook prerouting priority -100; policy accept; }
        add rule {{table}} base_dstnat iifname vmap @names
        add chain {{table}} base_input { type filter hook input priority -10; policy accept; }
        {{(ipv6 is null ? "" : $"add rule {table} base_input iifname {links} icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} ip6 hoplimit 255 accept")}}
        add rule {{table}} base_input iifname vmap @local
        add rule {{table}} base_input iifname {{links}} drop
        add rule {{table}} base_input meta l4proto { tcp, udp } ip daddr . th dport @listeners drop
        {{(ipv6 is null ? "" : $"add rule {table} base_input meta l4proto {{ tcp, udp }} ip6 daddr {ipv6} drop")}}
        add rule {{table}} base_input ct direction reply ct mark vmap @answers
        add chain {{table}} base_output { type filter hook output priority -10; policy accept; }
        add rule {{table}} base_output meta priority vmap @upstream
        add rule {{table}} base_output ct direction reply ct mark vmap @answers
        add chain {{table}} base_forward { type filter hook forward priority -10; policy accept; }
        add rule {{table}} base_forward iifname vmap @from
        add rule {{table}} base_forward oifname vmap @to
        add rule {{table}} base_forward iifname {{links}} drop
        add rule {{table}} base_forward oifname {{links}} drop
        add chain {{table}} base_srcnat { type nat hook postrouting priority 100; policy accept; }
        add rule {{table}} base_srcnat ip saddr @pool masquerade
        {{(ipv6 is null ? "" : $"add rule {table} base_srcnat ip6 saddr {ipv6} masquerade")}}

        """;
}
