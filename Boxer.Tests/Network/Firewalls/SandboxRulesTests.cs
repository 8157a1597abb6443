using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.RegularExpressions;
using Boxer.Common;
using Boxer.Network.Firewalls;
using Boxer.Network.Links;
using Boxer.Networking;
using Boxer.Tests.Support;
using CsCheck;

namespace Boxer.Tests.Network.Firewalls;

/// <summary>Evaluates the nft rules of <see cref="SandboxRules"/>, and compares the verdict with <see cref="NetworkPolicy.Allows"/>.</summary>
public sealed partial class SandboxRulesTests
{
    private const string Id = "0123abcd";

    private static readonly string[] Destinations =
    [
        "10.0.0.0/8", "10.0.0.5", "192.168.0.0/16", "192.168.0.0/15", "100.64.0.0/10", "169.254.169.254", "168.63.129.16", "127.0.0.0/8", "224.0.0.0/4", "0.0.0.0/0", "8.0.0.0/5",
        "203.0.113.0/24", "203.0.113.7", "[::/0]", "[fc00::/7]", "[fd00::1]", "[2001:db8::/32]", "[2001:db8::7]", "[fc00::/6]", "pypi.org", "*.pypi.org", "other.example",
    ];

    private static readonly string[] Addresses =
    [
        "10.0.0.5", "10.0.0.6", "192.168.1.1", "192.169.1.1", "100.100.100.200", "169.254.169.254", "168.63.129.16", "127.0.0.1", "0.0.0.1", "203.0.113.7", "203.0.113.8", "9.9.9.9",
        "224.0.0.1", "fd00::1", "fd00::2", "fe80::1", "2001:db8::7", "2001:db8:1::1", "2606::1", "64:ff9b::1", "2002::1",
    ];

    private static readonly string?[] Domains = [null, null, "pypi.org", "a.pypi.org", "other.example", "evil.example"];

    private static readonly int[] Ports = [0, 22, 53, 80, 443, 853, 8_000, 8_099, 8_100, 65_535];

    private static Gen<string[]> Rules { get; } = Gen.Select(
        Generators.Pick("", "", "tcp://", "udp://"),
        Generators.Pick(Destinations),
        Generators.Pick("", "", ":80", ":80,443", ":8000-8099", ":53", ":853", ":1-65535")).Select((protocol, destination, ports) => protocol + destination + ports).Array[0, 4];

    private static Gen<EgressPolicy> Policies { get; } = Gen.Select(Gen.Int[0, 2], Rules, Rules).Select((kind, allow, deny) =>
        new EgressPolicy { Allow = kind == 0 ? null : allow, Deny = deny, QuotaBytes = kind == 2 ? 1_000 : null });

    [Fact]
    [Slow]
    public void InstallationScript_and_NetworkPolicy_Allows_agree() =>
        Gen.Select(
            Policies,
            Policies,
            Gen.Int[0, 2],
            Generators.Pick(Addresses),
            Generators.Pick(Ports),
            Generators.Pick(EgressProtocols.Tcp, EgressProtocols.Udp, EgressProtocols.None),
            Generators.Pick(Domains)).Sample(
                (configured, requested, how, address, port, protocol, domain) =>
                {
                    NetworkPolicy policy = NetworkPolicy.Combine(configured, how == 0 ? null : requested, replaces: how == 2);
                    IPAddress destination = IPAddress.Parse(address);

                    bool expected = IsAccepted(policy, destination, port, protocol, domain);
                    Assert.Equal(expected, policy.Allows(destination, port, protocol, domain));
                    if (how == 0 && domain is null)
                    {
                        Assert.Equal(expected, configured.Allows(destination, port, protocol));
                    }
                },
                iter: 20_000);

    private static GuestLink Guest { get; } = new(
        "00001",
        $"bx{Id}00001",
        $"bx{Id}-00001",
        new AddressPair(IPAddress.Parse("10.231.0.0"), IPAddress.Parse("10.231.0.1")),
        new AddressPair(IPAddress.Parse("fd12:3456:789a::2"), IPAddress.Parse("fd12:3456:789a::3")),
        1,
        1u << 31);

    // Evaluates the rules of a sandbox for the first packet of a flow to a destination that is not this host.
    private static bool IsAccepted(NetworkPolicy policy, IPAddress address, int port, EgressProtocols protocol, string? domain)
    {
        if (domain is not null && !policy.AllowsName(domain))
        {
            // The resolver does not answer, so no connection is made.
            return false;
        }

        if (policy.FiltersNames && port == 53 && protocol != EgressProtocols.None)
        {
            // Redirected to the resolver.
            return false;
        }

        var packet = new Packet(address, port, protocol, domain is null ? [] : [.. DomainSet.NamesFor(Guest, policy, domain, address.AddressFamily)]);
        string table = FirewallTable.NameOf(Id);
        string[] lines = new SandboxRules(table, Guest, policy, policy.FiltersNames ? 5_353 : null).InstallationScript().Split('\n');
        string chain = "from_00001";
        while (chain is not ("accept_00001" or "deny_00001"))
        {
            string prefix = $"add rule {table} {chain} ";
            string? next = lines
                .Where(line => line.StartsWith(prefix, StringComparison.Ordinal))
                .Select(line => line[prefix.Length..].TrimEnd())
                .Select(rule => (Rule: rule, Target: Target().Match(rule)))
                .Where(rule => rule.Target.Success && packet.Matches(rule.Rule[..rule.Target.Index]))
                .Select(rule => rule.Target.Groups[1].Value)
                .FirstOrDefault();
            chain = next ?? throw new InvalidOperationException($"No rule of {chain} matches.");
        }

        return chain == "accept_00001";
    }

    [GeneratedRegex(@"goto (\w+)$")]
    private static partial Regex Target();

    [GeneratedRegex(@"(?:ip6? daddr (?:@(?<set>\w+)|(?<range>\S+))|meta l4proto (?:\{ )?(?<protocols>tcp, udp|tcp|udp)(?: \})?|th dport (?:\{ (?<ports>[^}]+) \}|(?<ports>\d+)))(?= |$)")]
    private static partial Regex Condition();

    private sealed record Packet(IPAddress Address, int Port, EgressProtocols Protocol, string[] OpenSets)
    {
        internal bool Matches(string conditions)
        {
            string rest = conditions.Trim();
            if (rest.StartsWith("oifname", StringComparison.Ordinal) || rest == "ct status dnat" || rest.StartsWith("ct state", StringComparison.Ordinal))
            {
                return false;
            }

            if (rest == "fib daddr type != unicast")
            {
                return SpecialAddressRanges.IsClosedToGuests(Address) && (Address.IsIPv6Multicast || (Address.AddressFamily == AddressFamily.InterNetwork && Address.GetAddressBytes()[0] is 224 or 0 or 127));
            }

            bool matches = true;
            while (rest.Length > 0)
            {
                Match part = Condition().Match(rest);
                Assert.True(part is { Success: true, Index: 0 }, conditions);
                rest = rest[part.Length..].TrimStart();
                matches &= part.Groups["set"] is { Success: true, Value: var set } ? IsIn(set)
                    : part.Groups["range"] is { Success: true, Value: var range } ? IPNetwork.Parse(range).Contains(Address)
                    : part.Groups["protocols"] is { Success: true, Value: var protocols } ? protocols.Contains(Protocol.ToString(), StringComparison.OrdinalIgnoreCase)
                    : part.Groups["ports"].Value.Split(',').Select(ports => ports.Trim().Split('-')).Any(ends =>
                        int.Parse(ends[0], CultureInfo.InvariantCulture) <= Port && Port <= int.Parse(ends[^1], CultureInfo.InvariantCulture));
            }

            return matches;
        }

        private bool IsIn(string set) => set switch
        {
            "special" => Address.AddressFamily == AddressFamily.InterNetwork && SpecialAddressRanges.IsClosedToGuests(Address),
            "special6" => Address.AddressFamily == AddressFamily.InterNetworkV6 && SpecialAddressRanges.IsClosedToGuests(Address),
            _ => OpenSets.Contains(set),
        };
    }
}
