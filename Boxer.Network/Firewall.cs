using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Boxer.Common;
using Boxer.Networking;

namespace Boxer.Network;

/// <summary>
/// The nftables table of one instance. Everything on a link of ours is dropped unless its sandbox has rules; each sandbox has chains of
/// its own that a map finds by the link, so that a packet costs the same however many sandboxes run, and that come and go as one.
/// </summary>
internal sealed class Firewall : IDisposable
{
    private const int MostDenied = 256;
    private const int DnsOverTls = 853;

    // Fragments of all links would meet in one queue (NF_IP_PRI_CONNTRACK_DEFRAG is -400): each is looked at before.
    private const int BeforeDefragmentation = -450;
    private const int MostPackets = 500;
    private const int MostResolverConnections = 32;
    private const int MostNewConnections = 200;

    // What the host's connection tracking holds is shared by all: its size is 65,536 or more (nf_conntrack-sysctl.rst).
    private const int MostFlows = 4_096;
    private const int MostNewFlows = 1_000;
    private readonly NetworkTools _tools;
    private readonly string _links;
    private readonly SemaphoreSlim _gate = new(1, 1);

    /// <param name="tools">Runs nft.</param>
    /// <param name="instanceId">The instance.</param>
    /// <param name="ipv6">The IPv6 addresses of its sandboxes, or <see langword="null"/> where they have none: then all of IPv6 is dropped.</param>
    internal Firewall(NetworkTools tools, string instanceId, IPNetwork? ipv6)
    {
        IPv6 = ipv6;
        _tools = tools;
        Table = TableOf(instanceId);
        _links = $"\"{LinkNames.Prefix(instanceId)}*\"";
    }

    /// <summary>The IPv6 addresses of sandboxes, or <see langword="null"/> where they have none.</summary>
    internal IPNetwork? IPv6 { get; }

    /// <summary>The table, with its family.</summary>
    internal string Table { get; }

    internal static string TableOf(string instanceId) => "inet boxer_" + instanceId;

    /// <summary>Makes the table, with no sandbox in it.</summary>
    internal Task CreateAsync(IEnumerable<IPAddress> resolvers, CancellationToken cancellationToken)
    {
        var script = new StringBuilder();
        script.AppendLine(CultureInfo.InvariantCulture, $$"""
            add table {{Table}}
            add set {{Table}} special { type ipv4_addr; flags interval; auto-merge; elements = { {{string.Join(", ", SpecialRanges.GuestIPv4)}} }; }
            add set {{Table}} resolvers { type ipv4_addr; }
            add set {{Table}} pool { type ipv4_addr; flags interval; auto-merge; }
            add set {{Table}} owners { type ifname . ipv4_addr; }
            add set {{Table}} listeners { type ipv4_addr . inet_service; }
            add set {{Table}} special6 { type ipv6_addr; flags interval; auto-merge; elements = { {{string.Join(", ", SpecialRanges.GuestIPv6)}} }; }
            add set {{Table}} resolvers6 { type ipv6_addr; }
            add set {{Table}} owners6 { type ifname . ipv6_addr; }
            add map {{Table}} zones { typeof iifname : ct zone; }
            add map {{Table}} from { type ifname : verdict; }
            add map {{Table}} to { type ifname : verdict; }
            add map {{Table}} local { type ifname : verdict; }
            add map {{Table}} names { type ifname : verdict; }
            add map {{Table}} upstream { type classid : verdict; }
            add map {{Table}} answers { type mark : verdict; }
            add chain {{Table}} base_raw { type filter hook prerouting priority {{BeforeDefragmentation}}; policy accept; }
            add rule {{Table}} base_raw iifname != {{_links}} accept
            add rule {{Table}} base_raw iifname . ip saddr != @owners drop
            add rule {{Table}} base_raw {{(IPv6 is null ? "meta nfproto ipv6 drop" : "iifname . ip6 saddr != @owners6 drop")}}
            add rule {{Table}} base_raw ct original zone set iifname map @zones
            add chain {{Table}} base_dstnat { type nat hook prerouting priority -100; policy accept; }
            add rule {{Table}} base_dstnat iifname vmap @names
            add chain {{Table}} base_input { type filter hook input priority -10; policy accept; }
            {{(IPv6 is null ? "" : $"add rule {Table} base_input iifname {_links} icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} ip6 hoplimit 255 accept")}}
            add rule {{Table}} base_input iifname vmap @local
            add rule {{Table}} base_input iifname {{_links}} drop
            add rule {{Table}} base_input meta l4proto { tcp, udp } ip daddr . th dport @listeners drop
            {{(IPv6 is null ? "" : $"add rule {Table} base_input meta l4proto {{ tcp, udp }} ip6 daddr {IPv6} drop")}}
            add rule {{Table}} base_input ct direction reply ct mark vmap @answers
            add chain {{Table}} base_output { type filter hook output priority -10; policy accept; }
            add rule {{Table}} base_output meta priority vmap @upstream
            add rule {{Table}} base_output ct direction reply ct mark vmap @answers
            add chain {{Table}} base_forward { type filter hook forward priority -10; policy accept; }
            add rule {{Table}} base_forward iifname vmap @from
            add rule {{Table}} base_forward oifname vmap @to
            add rule {{Table}} base_forward iifname {{_links}} drop
            add rule {{Table}} base_forward oifname {{_links}} drop
            add chain {{Table}} base_srcnat { type nat hook postrouting priority 100; policy accept; }
            add rule {{Table}} base_srcnat ip saddr @pool masquerade
            {{(IPv6 is null ? "" : $"add rule {Table} base_srcnat ip6 saddr {IPv6} masquerade")}}
            """);
        foreach (IGrouping<string, IPAddress> known in resolvers.GroupBy(address => address.AddressFamily == AddressFamily.InterNetwork ? "resolvers" : "resolvers6"))
        {
            script.AppendLine(CultureInfo.InvariantCulture, $"add element {Table} {known.Key} {{ {string.Join(", ", known.Distinct())} }}");
        }

        return _tools.NftAsync(script.ToString(), cancellationToken);
    }

    /// <summary>Lets addresses of a part be masqueraded.</summary>
    internal Task AddPoolAsync(IPNetwork part, CancellationToken cancellationToken) =>
        _tools.NftAsync($"add element {Table} pool {{ {part} }}\n", cancellationToken);

    /// <summary>Lets through what a policy lets through, as one transaction.</summary>
    /// <param name="guest">The sandbox.</param>
    /// <param name="policy">Its policy.</param>
    /// <param name="resolverPort">Where its own resolver listens on the host's end of its link, or <see langword="null"/> where it has none.</param>
    /// <param name="cancellationToken">Gives up; nothing is let through.</param>
    internal Task AddAsync(GuestLink guest, NetworkPolicy policy, int? resolverPort, CancellationToken cancellationToken) =>
        RunAsync(Rules(guest, policy, resolverPort), cancellationToken);

    /// <summary>Takes a sandbox's rules away, as one transaction. What still comes from its link is dropped.</summary>
    internal Task RemoveAsync(GuestLink guest, NetworkPolicy policy, int? resolverPort)
    {
        string n = guest.Number;
        var script = new StringBuilder();
        script.AppendLine(CultureInfo.InvariantCulture, $$"""
            delete element {{Table}} from { "{{guest.Link}}" }
            delete element {{Table}} to { "{{guest.Link}}" }
            delete element {{Table}} local { "{{guest.Link}}" }
            delete element {{Table}} zones { "{{guest.Link}}" }
            delete element {{Table}} owners { "{{guest.Link}}" . {{guest.Addresses.Guest}} }
            """);
        if (guest.IPv6 is not null)
        {
            script.AppendLine(CultureInfo.InvariantCulture, $"delete element {Table} owners6 {{ \"{guest.Link}\" . {guest.IPv6.Guest} }}");
        }

        if (resolverPort is not null)
        {
            script.AppendLine(CultureInfo.InvariantCulture, $"delete element {Table} names {{ \"{guest.Link}\" }}");
            script.AppendLine(CultureInfo.InvariantCulture, $"delete element {Table} listeners {{ {guest.Addresses.Host} . {resolverPort} }}");
        }

        if (policy.QuotaBytes is not null)
        {
            script.AppendLine(CultureInfo.InvariantCulture, $"delete element {Table} upstream {{ {guest.Priority} }}");
            script.AppendLine(CultureInfo.InvariantCulture, $"delete element {Table} answers {{ {guest.Mark} }}");
        }

        string[] chains = [.. Chains(n, policy, resolverPort)];
        foreach (string chain in chains)
        {
            script.AppendLine(CultureInfo.InvariantCulture, $"flush chain {Table} {chain}");
        }

        foreach (string chain in chains)
        {
            script.AppendLine(CultureInfo.InvariantCulture, $"delete chain {Table} {chain}");
        }

        foreach (string set in guest.IPv6 is null ? (string[])[$"denied_{n}"] : [$"denied_{n}", $"denied6_{n}"])
        {
            script.AppendLine(CultureInfo.InvariantCulture, $"delete set {Table} {set}");
        }

        foreach (string set in DomainSets(policy, guest).Select(set => set.Name))
        {
            script.AppendLine(CultureInfo.InvariantCulture, $"delete set {Table} {set}");
        }

        if (policy.QuotaBytes is not null)
        {
            script.AppendLine(CultureInfo.InvariantCulture, $"delete quota {Table} quota_{n}");
        }

        return RunAsync(script.ToString(), CancellationToken.None);
    }

    /// <summary>The sets that addresses of an allowed domain are opened in: one in every layer that allows it.</summary>
    internal static IEnumerable<string> SetsOf(GuestLink guest, NetworkPolicy policy, string name, AddressFamily family) =>
        DomainSets(policy, guest).Where(set => set.Family == family && set.Rules.Any(rule => rule.MatchesName(name))).Select(set => set.Name);

    /// <summary>Opens addresses, each in a set and for a time from now, as one transaction.</summary>
    internal Task OpenAsync(IReadOnlyList<(string Set, IPAddress Address, TimeSpan Time)> opened, CancellationToken cancellationToken)
    {
        var script = new StringBuilder();
        foreach (IGrouping<string, (string Set, IPAddress Address, TimeSpan Time)> set in opened.GroupBy(one => one.Set))
        {
            string keys = string.Join(", ", set.Select(one => one.Address));
            string elements = string.Join(", ", set.Select(one => string.Create(CultureInfo.InvariantCulture, $"{one.Address} timeout {Math.Max(1, (long)one.Time.TotalSeconds)}s")));

            // Anew, so that the time counts from this answer: before Linux 6.12 an element keeps the time that it was first given.
            script.AppendLine(CultureInfo.InvariantCulture, $"add element {Table} {set.Key} {{ {elements} }}");
            script.AppendLine(CultureInfo.InvariantCulture, $"delete element {Table} {set.Key} {{ {keys} }}");
            script.AppendLine(CultureInfo.InvariantCulture, $"add element {Table} {set.Key} {{ {elements} }}");
        }

        return RunAsync(script.ToString(), cancellationToken);
    }

    /// <summary>What a sandbox was refused until now.</summary>
    internal async Task<IReadOnlyList<NetworkDenial>> ReadDeniedAsync(GuestLink guest, CancellationToken cancellationToken)
    {
        IReadOnlyList<NetworkDenial> denied = await ListAsync("denied_").ConfigureAwait(false);
        return guest.IPv6 is null ? denied : [.. denied, .. await ListAsync("denied6_").ConfigureAwait(false)];

        async Task<IReadOnlyList<NetworkDenial>> ListAsync(string set)
        {
            string printed = await _tools.NftJsonAsync(["list", "set", .. Table.Split(' '), set + guest.Number], cancellationToken).ConfigureAwait(false);
            return NetworkTools.Understand("nft", () => ParseDenied(printed));
        }
    }

    /// <summary>Removes a table with everything in it; nothing if it does not exist.</summary>
    internal static Task DeleteTableAsync(NetworkTools tools, string table, CancellationToken cancellationToken) =>
        tools.NftAsync($"add table {table}\ndelete table {table}\n", cancellationToken);

    internal static IReadOnlyList<NetworkDenial> ParseDenied(string json)
    {
        var denied = new List<NetworkDenial>();
        using JsonDocument document = JsonDocument.Parse(json);
        foreach (JsonElement set in NetworkTools.NftItems(document, "set"))
        {
            if (!set.TryGetProperty("elem", out JsonElement elements))
            {
                continue;
            }

            foreach (JsonElement element in elements.EnumerateArray())
            {
                JsonElement inner = element.TryGetProperty("elem", out JsonElement counted) ? counted : element;
                JsonElement[] key = [.. (inner.TryGetProperty("val", out JsonElement value) ? value : inner).GetProperty("concat").EnumerateArray()];
                long count = inner.TryGetProperty("counter", out JsonElement counter) ? counter.GetProperty("packets").GetInt64() : 1;
                denied.Add(new NetworkDenial(Text(key[0]), null, int.TryParse(Text(key[2]), NumberStyles.None, CultureInfo.InvariantCulture, out int port) ? port : 0, Text(key[1]), count));
            }
        }

        return [.. denied.OrderByDescending(denial => denial.Count).Take(NetworkReport.MaxDenied)];

        static string Text(JsonElement element) => element.ValueKind == JsonValueKind.String ? element.GetString()! : element.GetRawText();
    }

    public void Dispose() => _gate.Dispose();

    /// <summary>The rules of one sandbox.</summary>
    internal string Rules(GuestLink guest, NetworkPolicy policy, int? resolverPort)
    {
        string n = guest.Number;
        var script = new StringBuilder();
        foreach (string chain in Chains(n, policy, resolverPort))
        {
            Line($"add chain {Table} {chain}");
        }

        Line($"add set {Table} denied_{n} {{ type ipv4_addr . inet_proto . inet_service; flags dynamic; size {MostDenied}; counter; }}");
        if (guest.IPv6 is not null)
        {
            Line($"add set {Table} denied6_{n} {{ type ipv6_addr . inet_proto . inet_service; flags dynamic; size {MostDenied}; counter; }}");
        }

        foreach (DomainSet set in DomainSets(policy, guest))
        {
            Line($"add set {Table} {set.Name} {{ type {(set.Family == AddressFamily.InterNetwork ? "ipv4_addr" : "ipv6_addr")}; flags timeout; size 4096; }}");
        }

        string quota = "";
        if (policy.QuotaBytes is { } bytes)
        {
            Line($"add quota {Table} quota_{n} {{ over {bytes} bytes; }}");
            quota = $"quota name \"quota_{n}\" drop";
        }

        // Refused at once, and noted.
        Line($"add rule {Table} deny_{n} meta l4proto {{ tcp, udp }} update @denied_{n} {{ ip daddr . meta l4proto . th dport }}");
        Line($"add rule {Table} deny_{n} meta l4proto != {{ tcp, udp }} update @denied_{n} {{ ip daddr . meta l4proto . 0 }}");
        if (guest.IPv6 is not null)
        {
            Line($"add rule {Table} deny_{n} meta l4proto {{ tcp, udp }} update @denied6_{n} {{ ip6 daddr . meta l4proto . th dport }}");
            Line($"add rule {Table} deny_{n} meta l4proto != {{ tcp, udp }} update @denied6_{n} {{ ip6 daddr . meta l4proto . 0 }}");
        }

        Line($"add rule {Table} deny_{n} meta l4proto tcp reject with tcp reset");
        Line($"add rule {Table} deny_{n} reject with icmpx type admin-prohibited");

        // A flow belongs to this sandbox by its mark: one that another had with the same address does not.
        if (quota.Length > 0)
        {
            Line($"add rule {Table} accept_{n} {quota}");
        }

        Line($"add rule {Table} accept_{n} ct state new limit rate over {MostNewFlows}/second burst {MostNewFlows} packets drop");
        Line($"add rule {Table} accept_{n} ct state new ct count over {MostFlows} drop");
        Line($"add rule {Table} accept_{n} ct state new ct mark set {guest.Mark}");
        Line($"add rule {Table} accept_{n} accept");
        // Sandboxes do not reach each other, whatever a policy allows and whoever's they are.
        Line($"add rule {Table} from_{n} oifname \"{LinkNames.Common}*\" goto deny_{n}");

        // What somebody else's rules lead elsewhere is not what the policy was asked about.
        Line($"add rule {Table} from_{n} ct status dnat goto deny_{n}");
        Line($"add rule {Table} from_{n} ct state {{ established, related }} ct mark {guest.Mark} goto accept_{n}");
        Line($"add rule {Table} from_{n} ct state != new drop");
        foreach (EgressRule rule in policy.Layers.SelectMany(layer => layer.Deny).Where(rule => rule.Range is not null))
        {
            foreach (string match in Matches(rule, guest, ofAnyProtocol: rule.IsForAll))
            {
                Line($"add rule {Table} from_{n} {match} goto deny_{n}");
            }
        }

        if (resolverPort is null)
        {
            Line($"add rule {Table} from_{n} ip daddr @resolvers meta l4proto {{ tcp, udp }} th dport 53 goto accept_{n}");
            Line($"add rule {Table} from_{n} ip6 daddr @resolvers6 meta l4proto {{ tcp, udp }} th dport 53 goto accept_{n}");
        }
        else
        {
            Line($"add rule {Table} from_{n} meta l4proto {{ tcp, udp }} th dport {DnsOverTls} goto deny_{n}");
        }

        Line($"add rule {Table} from_{n} fib daddr type != unicast goto deny_{n}");
        Line($"add rule {Table} from_{n} ip daddr @special goto private_{n}");
        Line($"add rule {Table} from_{n} ip6 daddr @special6 goto private_{n}");
        Line($"add rule {Table} from_{n} goto layer0_{n}");
        for (int i = 0; i < policy.Layers.Count; i++)
        {
            EgressLayer layer = policy.Layers[i];
            string next = i + 1 < policy.Layers.Count ? $"layer{i + 1}_{n}" : $"accept_{n}";
            foreach (string match in layer.PrivateRules.SelectMany(rule => Matches(rule, guest)))
            {
                Line($"add rule {Table} private_{n} {match} goto {next}");
            }

            if (layer.Allow is null)
            {
                Line($"add rule {Table} layer{i}_{n} goto {next}");
                continue;
            }

            foreach (string match in layer.Allow.Where(rule => rule.Range is not null).SelectMany(rule => Matches(rule, guest)))
            {
                Line($"add rule {Table} layer{i}_{n} {match} goto {next}");
            }

            foreach (DomainSet set in DomainSets(policy, guest).Where(set => set.Layer == i))
            {
                foreach (string ports in Transport(set.Rules[0]))
                {
                    Line($"add rule {Table} layer{i}_{n} {(set.Family == AddressFamily.InterNetwork ? "ip" : "ip6")} daddr @{set.Name} {ports} goto {next}");
                }
            }

            Line($"add rule {Table} layer{i}_{n} goto deny_{n}");
        }

        Line($"add rule {Table} private_{n} goto deny_{n}");
        Line($"add rule {Table} to_{n} ct state {{ established, related }} ct mark {guest.Mark} goto accept_{n}");
        Line($"add rule {Table} to_{n} drop");

        // What it asks of this host itself holds entries of connection tracking too.
        Line($"add rule {Table} local_{n} ct state new limit rate over {MostPackets}/second burst {2 * MostPackets} packets drop");
        Line($"add rule {Table} local_{n} ct state new ct count over {MostFlows} drop");
        if (resolverPort is { } port)
        {
            Line($"add rule {Table} names_{n} meta l4proto {{ tcp, udp }} th dport 53 redirect to :{port}");
            // What it asks of the resolver is work of this host's.
            Line($"add rule {Table} local_{n} meta l4proto {{ tcp, udp }} th dport {port} limit rate over {MostPackets}/second burst {2 * MostPackets} packets drop");
            Line($"add rule {Table} local_{n} tcp dport {port} ct state new ct count over {MostResolverConnections} drop");

            // `ct count` forgets reset connections, so new ones are limited too.
            Line($"add rule {Table} local_{n} tcp dport {port} ct state new limit rate over {MostNewConnections}/second burst {MostNewConnections} packets drop");
            if (guest.IPv6 is not null)
            {
                Line($"add rule {Table} local_{n} ip6 daddr {guest.IPv6.Host} meta l4proto {{ tcp, udp }} th dport {port} ct status dnat accept");
            }

            Line($"add rule {Table} local_{n} ip daddr {guest.Addresses.Host} meta l4proto {{ tcp, udp }} th dport {port} ct status dnat accept");
            Line($"add element {Table} names {{ \"{guest.Link}\" : jump names_{n} }}");
            Line($"add element {Table} listeners {{ {guest.Addresses.Host} . {port} }}");
        }
        else
        {
            foreach (string resolver in (string[])["ip daddr @resolvers", "ip6 daddr @resolvers6"])
            {
                string match = $"{resolver} meta l4proto {{ tcp, udp }} th dport 53";
                if (quota.Length > 0)
                {
                    Line($"add rule {Table} local_{n} {match} jump upstream_{n}");
                }

                Line($"add rule {Table} local_{n} {match} accept");
            }
        }

        if (quota.Length > 0)
        {
            // Packets to and from a resolver count in the sandbox's quota, also where this host sends or receives them.
            Line($"add rule {Table} upstream_{n} ct mark set {guest.Mark}");
            Line($"add rule {Table} upstream_{n} {quota}");
            Line($"add element {Table} upstream {{ {guest.Priority} : jump upstream_{n} }}");
            Line($"add element {Table} answers {{ {guest.Mark} : jump upstream_{n} }}");
        }

        Line($"add rule {Table} local_{n} goto deny_{n}");
        Line($"add element {Table} zones {{ \"{guest.Link}\" : {guest.Zone} }}");
        Line($"add element {Table} owners {{ \"{guest.Link}\" . {guest.Addresses.Guest} }}");
        if (guest.IPv6 is not null)
        {
            Line($"add element {Table} owners6 {{ \"{guest.Link}\" . {guest.IPv6.Guest} }}");
        }

        Line($"add element {Table} to {{ \"{guest.Link}\" : jump to_{n} }}");
        Line($"add element {Table} local {{ \"{guest.Link}\" : jump local_{n} }}");
        Line($"add element {Table} from {{ \"{guest.Link}\" : jump from_{n} }}");
        return script.ToString();

        void Line(FormattableString line) => script.AppendLine(line.ToString(CultureInfo.InvariantCulture));
    }

    private static IEnumerable<string> Chains(string n, NetworkPolicy policy, int? resolverPort) =>
    [
        $"from_{n}", $"to_{n}", $"local_{n}", $"private_{n}",
        .. policy.Layers.Select((_, i) => $"layer{i}_{n}"),
        .. resolverPort is null ? (string[])[] : [$"names_{n}"],
        .. policy.QuotaBytes is null ? (string[])[] : (string[])[$"upstream_{n}"],
        $"accept_{n}", $"deny_{n}",
    ];

    // One set of each family for all domains of a layer that have the same protocols and ports.
    private static IEnumerable<DomainSet> DomainSets(NetworkPolicy policy, GuestLink guest) =>
        policy.Layers.SelectMany((layer, i) => (layer.Allow ?? [])
            .Where(rule => rule.Domain is not null)
            .GroupBy(rule => (rule.Protocols, string.Join(',', rule.Ports)))
            .SelectMany((group, j) => (guest.IPv6 is null ? [AddressFamily.InterNetwork] : (AddressFamily[])[AddressFamily.InterNetwork, AddressFamily.InterNetworkV6])
                .Select(family => new DomainSet($"domain{(family == AddressFamily.InterNetwork ? 4 : 6)}_{i}_{j}_{guest.Number}", family, i, [.. group]))));

    private static IEnumerable<string> Matches(EgressRule rule, GuestLink guest, bool ofAnyProtocol = false)
    {
        bool isIPv4 = rule.Range!.Value.BaseAddress.AddressFamily == AddressFamily.InterNetwork;
        return isIPv4 || guest.IPv6 is not null
            ? (ofAnyProtocol ? [""] : Transport(rule)).Select(transport => $"{(isIPv4 ? "ip" : "ip6")} daddr {rule.Range} {transport}".TrimEnd())
            : [];
    }

    // Without ports a rule is for all of what its protocols say; with them, ports are those of tcp and udp.
    private static IEnumerable<string> Transport(EgressRule rule)
    {
        string protocols = rule.Protocols switch
        {
            EgressProtocols.Tcp => "meta l4proto tcp",
            EgressProtocols.Udp => "meta l4proto udp",
            _ => "meta l4proto { tcp, udp }",
        };
        yield return rule.Ports.Count == 0
            ? protocols
            : $"{protocols} th dport {{ {string.Join(", ", rule.Ports.Select(range => range.First == range.Last ? $"{range.First}" : $"{range.First}-{range.Last}"))} }}";
    }

    // One at a time: each reads the table before it changes it.
    private async Task RunAsync(string script, CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await _tools.NftAsync(script, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _gate.Release();
        }
    }

    private sealed record DomainSet(string Name, AddressFamily Family, int Layer, IReadOnlyList<EgressRule> Rules);
}
