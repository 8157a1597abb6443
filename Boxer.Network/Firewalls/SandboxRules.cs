using System.Net.Sockets;
using Boxer.Network.Links;
using Boxer.Networking;

namespace Boxer.Network.Firewalls;

/// <summary>
/// The chains, sets and map elements of one sandbox in the table of a <see cref="Firewall"/>. Their names end with the number of its link.
/// </summary>
/// <remarks>
/// <c>from</c> judges packets to other machines: <c>private</c> those to addresses that are not public, then <c>layer0</c>, <c>layer1</c>
/// for each layer of the policy, then <c>accept</c> or <c>deny</c>. <c>to</c> judges packets to the sandbox, <c>local</c> those to this host.
/// <c>names</c> redirects DNS packets to the sandbox's resolver. <c>upstream</c> counts DNS packets of this host in the quota.
/// </remarks>
/// <param name="table">Family and name of the table.</param>
/// <param name="guest">The link of the sandbox.</param>
/// <param name="policy">The policy.</param>
/// <param name="resolverPort">
/// Port of the sandbox's own resolver on the host's end of the link; <see langword="null"/>: it has none, and may reach the configured DNS servers.
/// </param>
internal sealed class SandboxRules(string table, GuestLink guest, NetworkPolicy policy, int? resolverPort)
{
    /// <summary>Maximum number of destinations in a set of <see cref="DenialSets"/>. Further ones are rejected as well, but not counted.</summary>
    internal const int MaxDenialSetEntries = 1_024;
    private const int MaxDomainSetEntries = 4_096;
    private const int DnsOverTlsPort = 853;

    // Limits of packets to this host. Answering DNS queries is work of this host.
    private const int MaxPacketsPerSecond = 500;
    private const int MaxResolverConnections = 32;
    private const int MaxNewResolverConnectionsPerSecond = 200;

    // All sandboxes share the host's connection tracking table of 65,536 entries or more (nf_conntrack-sysctl.rst).
    private const int MaxFlows = 4_096;
    private const int MaxNewFlowsPerSecond = 1_000;
    private const string TcpOrUdp = "meta l4proto { tcp, udp }";
    private readonly string _number = guest.Number;

    /// <summary>The nft script that installs the rules.</summary>
    internal string InstallationScript() => Script(
    [
        .. ChainNames().Select(chain => $"add chain {table} {chain}"),
        .. Sets(),
        .. DenyChain(),
        .. AcceptChain(),
        .. FromChain(),
        .. LayerChains(),
        .. ToChain(),
        .. LocalChain(),
        .. UpstreamChain(),
        Rule("local", $"goto deny_{_number}"),
        .. LinkElements(),
    ]);

    /// <summary>The nft script that removes the rules.</summary>
    internal string RemovalScript()
    {
        string[] chains = [.. ChainNames()];
        return Script(
        [
            $"delete element {table} from {{ \"{guest.Link}\" }}",
            $"delete element {table} to {{ \"{guest.Link}\" }}",
            $"delete element {table} local {{ \"{guest.Link}\" }}",
            $"delete element {table} zones {{ \"{guest.Link}\" }}",
            $"delete element {table} owners {{ \"{guest.Link}\" . {guest.Addresses.Guest} }}",
            .. guest.IPv6 is null ? (string[])[] : [$"delete element {table} owners6 {{ \"{guest.Link}\" . {guest.IPv6.Guest} }}"],
            .. resolverPort is null ? (string[])[] :
            [
                $"delete element {table} names {{ \"{guest.Link}\" }}",
                FormattableString.Invariant($"delete element {table} listeners {{ {guest.Addresses.Host} . {resolverPort} }}"),
            ],
            .. policy.QuotaBytes is null ? (string[])[] :
            [
                $"delete element {table} upstream {{ {guest.Priority} }}",
                FormattableString.Invariant($"delete element {table} answers {{ {guest.Mark} }}"),
            ],
            .. chains.Select(chain => $"flush chain {table} {chain}"),
            .. chains.Select(chain => $"delete chain {table} {chain}"),
            .. DenialSets(guest).Select(set => $"delete set {table} {set}"),
            .. DomainSet.Of(guest, policy).Select(set => $"delete set {table} {set.Name}"),
            .. policy.QuotaBytes is null ? (string[])[] : [$"delete quota {table} quota_{_number}"],
        ]);
    }

    /// <summary>Names of the sets that count the packets that a sandbox was denied.</summary>
    internal static IEnumerable<string> DenialSets(GuestLink guest) =>
        guest.IPv6 is null ? [$"denied_{guest.Number}"] : [$"denied_{guest.Number}", $"denied6_{guest.Number}"];

    private IEnumerable<string> ChainNames() =>
    [
        $"from_{_number}", $"to_{_number}", $"local_{_number}", $"private_{_number}",
        .. policy.Layers.Select((_, i) => $"layer{i}_{_number}"),
        .. resolverPort is null ? (string[])[] : [$"names_{_number}"],
        .. policy.QuotaBytes is null ? (string[])[] : (string[])[$"upstream_{_number}"],
        $"accept_{_number}", $"deny_{_number}",
    ];

    private IEnumerable<string> Sets()
    {
        foreach ((string set, AddressFamily family) in DenialSets(guest).Zip([AddressFamily.InterNetwork, AddressFamily.InterNetworkV6]))
        {
            yield return FormattableString.Invariant($"add set {table} {set} {{ type {AddressType(family)} . inet_proto . inet_service; flags dynamic; size {MaxDenialSetEntries}; counter; }}");
        }

        foreach (DomainSet set in DomainSet.Of(guest, policy))
        {
            yield return FormattableString.Invariant($"add set {table} {set.Name} {{ type {AddressType(set.Family)}; flags timeout; size {MaxDomainSetEntries}; }}");
        }

        if (policy.QuotaBytes is { } bytes)
        {
            yield return FormattableString.Invariant($"add quota {table} quota_{_number} {{ over {bytes} bytes; }}");
        }
    }

    // Counts the packet and rejects it, so that the sender fails at once.
    private IEnumerable<string> DenyChain()
    {
        yield return Rule("deny", $"{TcpOrUdp} update @denied_{_number} {{ ip daddr . meta l4proto . th dport }}");
        yield return Rule("deny", $"meta l4proto != {{ tcp, udp }} update @denied_{_number} {{ ip daddr . meta l4proto . 0 }}");
        if (guest.IPv6 is not null)
        {
            yield return Rule("deny", $"{TcpOrUdp} update @denied6_{_number} {{ ip6 daddr . meta l4proto . th dport }}");
            yield return Rule("deny", $"meta l4proto != {{ tcp, udp }} update @denied6_{_number} {{ ip6 daddr . meta l4proto . 0 }}");
        }

        yield return Rule("deny", $"meta l4proto tcp reject with tcp reset");
        yield return Rule("deny", $"reject with icmpx type admin-prohibited");
    }

    private IEnumerable<string> AcceptChain()
    {
        if (policy.QuotaBytes is not null)
        {
            yield return Rule("accept", $"{DropOverQuota()}");
        }

        yield return Rule("accept", $"ct state new limit rate over {MaxNewFlowsPerSecond}/second burst {MaxNewFlowsPerSecond} packets drop");
        yield return Rule("accept", $"ct state new ct count over {MaxFlows} drop");
        yield return Rule("accept", $"ct state new ct mark set {guest.Mark}");
        yield return Rule("accept", $"accept");
    }

    private IEnumerable<string> FromChain()
    {
        // No policy lets sandboxes reach each other, whichever instance they belong to.
        yield return Rule("from", $"oifname \"{LinkNames.CommonPrefix}*\" goto deny_{_number}");

        // The policy was evaluated for the original destination. Deny packets that another table redirected.
        yield return Rule("from", $"ct status dnat goto deny_{_number}");

        // The mark ties a flow to this sandbox. A flow of an earlier sandbox with the same address has another mark.
        yield return Rule("from", $"ct state {{ established, related }} ct mark {guest.Mark} goto accept_{_number}");
        yield return Rule("from", $"ct state != new drop");
        foreach (EgressRule rule in policy.Layers.SelectMany(layer => layer.Deny).Where(rule => rule.Range is not null))
        {
            foreach (string match in Matches(rule, ofAnyProtocol: rule.HasNoProtocolAndPorts))
            {
                yield return Rule("from", $"{match} goto deny_{_number}");
            }
        }

        if (resolverPort is null)
        {
            yield return Rule("from", $"ip daddr @resolvers {TcpOrUdp} th dport 53 goto accept_{_number}");
            yield return Rule("from", $"ip6 daddr @resolvers6 {TcpOrUdp} th dport 53 goto accept_{_number}");
        }
        else
        {
            yield return Rule("from", $"{TcpOrUdp} th dport {DnsOverTlsPort} goto deny_{_number}");
        }

        yield return Rule("from", $"fib daddr type != unicast goto deny_{_number}");
        yield return Rule("from", $"ip daddr @special goto private_{_number}");
        yield return Rule("from", $"ip6 daddr @special6 goto private_{_number}");
        yield return Rule("from", $"goto layer0_{_number}");
    }

    // Each layer leads to the next one, and the last to accept. A rule that opens a private address leads past its own layer.
    private IEnumerable<string> LayerChains()
    {
        for (int i = 0; i < policy.Layers.Count; i++)
        {
            EgressLayer layer = policy.Layers[i];
            string next = i + 1 < policy.Layers.Count ? $"layer{i + 1}_{_number}" : $"accept_{_number}";
            foreach (string match in layer.PrivateRules.SelectMany(rule => Matches(rule)))
            {
                yield return Rule("private", $"{match} goto {next}");
            }

            if (layer.Allow is null)
            {
                yield return Rule($"layer{i}", $"goto {next}");
                continue;
            }

            foreach (string match in layer.Allow.Where(rule => rule.Range is not null).SelectMany(rule => Matches(rule)))
            {
                yield return Rule($"layer{i}", $"{match} goto {next}");
            }

            foreach (DomainSet set in DomainSet.Of(guest, policy).Where(set => set.Layer == i))
            {
                yield return Rule($"layer{i}", $"{Header(set.Family)} daddr @{set.Name} {Transport(set.Rules[0])} goto {next}");
            }

            yield return Rule($"layer{i}", $"goto deny_{_number}");
        }

        yield return Rule("private", $"goto deny_{_number}");
    }

    private IEnumerable<string> ToChain()
    {
        yield return Rule("to", $"ct state {{ established, related }} ct mark {guest.Mark} goto accept_{_number}");
        yield return Rule("to", $"drop");
    }

    // Packets to this host itself also take entries of connection tracking, so they have the same limit of flows.
    private IEnumerable<string> LocalChain() =>
    [
        Rule("local", $"ct state new limit rate over {MaxPacketsPerSecond}/second burst {2 * MaxPacketsPerSecond} packets drop"),
        Rule("local", $"ct state new ct count over {MaxFlows} drop"),
        .. resolverPort is { } port ? OwnResolver(port) : SharedResolvers(),
    ];

    private IEnumerable<string> OwnResolver(int port)
    {
        yield return Rule("names", $"{TcpOrUdp} th dport 53 redirect to :{port}");
        yield return Rule("local", $"{TcpOrUdp} th dport {port} limit rate over {MaxPacketsPerSecond}/second burst {2 * MaxPacketsPerSecond} packets drop");
        yield return Rule("local", $"tcp dport {port} ct state new ct count over {MaxResolverConnections} drop");

        // `ct count` forgets reset connections, so new ones are limited too.
        yield return Rule("local", $"tcp dport {port} ct state new limit rate over {MaxNewResolverConnectionsPerSecond}/second burst {MaxNewResolverConnectionsPerSecond} packets drop");
        if (guest.IPv6 is not null)
        {
            yield return Rule("local", $"ip6 daddr {guest.IPv6.Host} {TcpOrUdp} th dport {port} ct status dnat accept");
        }

        yield return Rule("local", $"ip daddr {guest.Addresses.Host} {TcpOrUdp} th dport {port} ct status dnat accept");
        yield return Element("names", $"\"{guest.Link}\" : jump names_{_number}");
        yield return Element("listeners", $"{guest.Addresses.Host} . {port}");
    }

    // A configured DNS server may be this host.
    private IEnumerable<string> SharedResolvers()
    {
        foreach (string servers in (string[])["ip daddr @resolvers", "ip6 daddr @resolvers6"])
        {
            string match = $"{servers} {TcpOrUdp} th dport 53";
            if (policy.QuotaBytes is not null)
            {
                yield return Rule("local", $"{match} jump upstream_{_number}");
            }

            yield return Rule("local", $"{match} accept");
        }
    }

    // DNS packets count in the quota of the sandbox, also those that this host sends or receives for it.
    private IEnumerable<string> UpstreamChain() => policy.QuotaBytes is null ? [] :
    [
        Rule("upstream", $"ct mark set {guest.Mark}"),
        Rule("upstream", $"{DropOverQuota()}"),
        Element("upstream", $"{guest.Priority} : jump upstream_{_number}"),
        Element("answers", $"{guest.Mark} : jump upstream_{_number}"),
    ];

    private IEnumerable<string> LinkElements() =>
    [
        Element("zones", $"\"{guest.Link}\" : {guest.Zone}"),
        Element("owners", $"\"{guest.Link}\" . {guest.Addresses.Guest}"),
        .. guest.IPv6 is null ? (string[])[] : [Element("owners6", $"\"{guest.Link}\" . {guest.IPv6.Guest}")],
        Element("to", $"\"{guest.Link}\" : jump to_{_number}"),
        Element("local", $"\"{guest.Link}\" : jump local_{_number}"),
        Element("from", $"\"{guest.Link}\" : jump from_{_number}"),
    ];

    private IEnumerable<string> Matches(EgressRule rule, bool ofAnyProtocol = false)
    {
        AddressFamily family = rule.Range!.Value.BaseAddress.AddressFamily;
        return family == AddressFamily.InterNetwork || guest.IPv6 is not null
            ? [$"{Header(family)} daddr {rule.Range} {(ofAnyProtocol ? "" : Transport(rule))}".TrimEnd()]
            : [];
    }

    private static string Transport(EgressRule rule)
    {
        string protocols = rule.Protocols switch
        {
            EgressProtocols.Tcp => "meta l4proto tcp",
            EgressProtocols.Udp => "meta l4proto udp",
            _ => TcpOrUdp,
        };
        return rule.Ports.Count == 0
            ? protocols
            : $"{protocols} th dport {{ {string.Join(", ", rule.Ports.Select(range => range.First == range.Last ? $"{range.First}" : $"{range.First}-{range.Last}"))} }}";
    }

    private string DropOverQuota() => $"quota name \"quota_{_number}\" drop";

    private static string Header(AddressFamily family) => family == AddressFamily.InterNetwork ? "ip" : "ip6";

    private static string AddressType(AddressFamily family) => family == AddressFamily.InterNetwork ? "ipv4_addr" : "ipv6_addr";

    private string Rule(string chain, FormattableString rule) => $"add rule {table} {chain}_{_number} {FormattableString.Invariant(rule)}";

    private string Element(string set, FormattableString element) => $"add element {table} {set} {{ {FormattableString.Invariant(element)} }}";

    private static string Script(IEnumerable<string> lines) => string.Concat(lines.Select(line => line + "\n"));
}
