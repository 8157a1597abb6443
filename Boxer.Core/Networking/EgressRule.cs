using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Boxer.Networking;

/// <summary>A parsed rule of an <see cref="EgressPolicy"/>: an address range or a domain, with protocols and ports.</summary>
public sealed class EgressRule
{
    private const int MaxDomain = 253;
    private const int MaxLabel = 63;

    private EgressRule(string text, EgressProtocols protocols, IPNetwork? range, string? domain, bool includesOnlySubdomains, IReadOnlyList<PortRange> ports)
    {
        Text = text;
        Protocols = protocols;
        Range = range;
        Domain = domain;
        IncludesOnlySubdomains = includesOnlySubdomains;
        Ports = ports;
    }

    /// <summary>The text of the rule.</summary>
    public string Text { get; }

    /// <summary>The protocols that the rule matches.</summary>
    public EgressProtocols Protocols { get; }

    /// <summary>The address range; <see langword="null"/> for a domain rule.</summary>
    public IPNetwork? Range { get; }

    /// <summary>The domain in lower case, with A-labels (RFC 5890) and without a dot at the end; <see langword="null"/> for an address rule.</summary>
    public string? Domain { get; }

    /// <summary>Whether the rule matches only names below <see cref="Domain"/>, and not the domain itself.</summary>
    public bool IncludesOnlySubdomains { get; }

    /// <summary>The ports that the rule matches; empty: all ports.</summary>
    public IReadOnlyList<PortRange> Ports { get; }

    // A denial of this kind also matches ICMP and tunnels.
    internal bool HasNoProtocolAndPorts => Ports.Count == 0 && Protocols == (EgressProtocols.Tcp | EgressProtocols.Udp);

    /// <summary>Whether the domain of the rule matches a name; <see langword="false"/> for an address rule.</summary>
    /// <param name="name">A domain name in lower case, without a dot at the end.</param>
    public bool MatchesName(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return Domain is not null
            && (IncludesOnlySubdomains
                ? name.Length > Domain.Length + 1 && name[^(Domain.Length + 1)] == '.' && name.EndsWith(Domain, StringComparison.Ordinal)
                : name == Domain);
    }

    /// <summary>Whether the range of the rule contains an address; <see langword="false"/> for a domain rule.</summary>
    internal bool MatchesAddress(IPAddress address) => Range is { } range && range.Contains(address);

    /// <summary>Whether the rule matches a port of a protocol.</summary>
    internal bool MatchesPort(EgressProtocols protocol, int port) =>
        (Protocols & protocol) != EgressProtocols.None && (Ports.Count == 0 || Ports.Any(range => range.First <= port && port <= range.Last));

    /// <summary>Parses a rule.</summary>
    /// <param name="text">The rule.</param>
    /// <param name="rule">The rule; <see langword="null"/> if the text is malformed.</param>
    /// <param name="error">The fault and its remedy, as a sentence without a subject; <see langword="null"/> if there is none.</param>
    /// <returns>Whether the text is a rule.</returns>
    public static bool TryParse(string? text, [NotNullWhen(true)] out EgressRule? rule, [NotNullWhen(false)] out string? error)
    {
        rule = null;
        if (string.IsNullOrEmpty(text) || text.Any(character => character <= ' ' || character > '~'))
        {
            error = "must be like pypi.org:443, 203.0.113.0/24 or udp://203.0.113.7:123, in printable ASCII; write other domains as xn--...";
            return false;
        }

        if (!TryTakeProtocols(text, out EgressProtocols protocols, out string rest, out error))
        {
            return false;
        }

        (string destination, string? portText, error) = SplitPorts(rest);
        return error is null
            && TryParsePorts(portText, out List<PortRange> ports, out error)
            && TryCreate(text, protocols, destination, ports, out rule, out error);
    }

    private static bool TryTakeProtocols(string text, out EgressProtocols protocols, out string rest, [NotNullWhen(false)] out string? error)
    {
        int scheme = text.IndexOf("://", StringComparison.Ordinal);
        rest = scheme < 0 ? text : text[(scheme + 3)..];
        protocols = scheme < 0 ? EgressProtocols.Tcp | EgressProtocols.Udp : text[..scheme] switch
        {
            "tcp" => EgressProtocols.Tcp,
            "udp" => EgressProtocols.Udp,
            _ => EgressProtocols.None,
        };
        error = protocols == EgressProtocols.None ? $"has the protocol '{text[..scheme]}'; use tcp:// or udp://, or leave it out for both." : null;
        return error is null;
    }

    private static bool TryParsePorts(string? text, out List<PortRange> ports, [NotNullWhen(false)] out string? error)
    {
        ports = [];
        foreach (string item in text?.Split(',') ?? [])
        {
            if (!PortRange.TryParse(item, out PortRange range))
            {
                error = $"has the port '{item}'; ports are numbers from 1 to 65535, or ranges such as 8000-8099, with commas between them.";
                return false;
            }

            ports.Add(range);
        }

        error = null;
        return true;
    }

    private static (string Destination, string? Ports, string? Error) SplitPorts(string rest)
    {
        if (rest.StartsWith('['))
        {
            int close = rest.IndexOf(']', StringComparison.Ordinal);
            return close < 0 ? ("", null, "has a '[' without ']'; write an IPv6 address with a port as [2001:db8::1]:443.")
                : close == rest.Length - 1 ? (rest[1..close], null, null)
                : rest[close + 1] == ':' ? (rest[1..close], rest[(close + 2)..], null)
                : ("", null, "has a character other than ':' after ']'; write [2001:db8::/64]:443.");
        }

        int first = rest.IndexOf(':', StringComparison.Ordinal);
        return first >= 0 && first == rest.LastIndexOf(':') ? (rest[..first], rest[(first + 1)..], null) : (rest, null, null);
    }

    private static bool TryCreate(
        string text, EgressProtocols protocols, string destination, List<PortRange> ports, [NotNullWhen(true)] out EgressRule? rule, [NotNullWhen(false)] out string? error)
    {
        rule = null;
        if (destination.Contains('/', StringComparison.Ordinal) || destination.Contains(':', StringComparison.Ordinal) || IsDottedNumbers(destination))
        {
            if (!TryParseRange(destination, out IPNetwork range))
            {
                error = $"has the address '{destination}'; write an address such as 203.0.113.7, or a range without bits after its prefix such as 203.0.113.0/24.";
                return false;
            }

            rule = new(text, protocols, range, null, includesOnlySubdomains: false, ports);
            error = null;
            return true;
        }

        bool wildcard = destination.StartsWith("*.", StringComparison.Ordinal);
        string domain = (wildcard ? destination[2..] : destination).TrimEnd('.').ToLowerInvariant();
        if (!IsDomain(domain))
        {
            error = $"has the domain '{destination}'; write a name such as pypi.org, or *.pypi.org for all below it.";
            return false;
        }

        rule = new(text, protocols, null, domain, wildcard, ports);
        error = null;
        return true;
    }

    private static bool TryParseRange(string text, out IPNetwork range)
    {
        range = default;
        string[] parts = text.Split('/');
        if (!IPAddress.TryParse(parts[0], out IPAddress? address) || !IsPlain(address) || !IsWhole(parts[0], address))
        {
            return false;
        }

        if (parts.Length == 1)
        {
            range = new IPNetwork(address, address.AddressFamily == AddressFamily.InterNetwork ? 32 : 128);
            return true;
        }

        // The parser clears bits after the prefix. Reject them, because the range is not the one that was meant.
        return IPNetwork.TryParse(text, out range) && range.BaseAddress.Equals(address);
    }

    // A scope is not part of a rule. An IPv4-mapped IPv6 address would be another address to the firewall.
    private static bool IsPlain(IPAddress address) =>
        address.AddressFamily == AddressFamily.InterNetwork || (address.ScopeId == 0 && !address.IsIPv4MappedToIPv6);

    // The parser also accepts 1 and 1.2 as addresses.
    private static bool IsWhole(string text, IPAddress address) =>
        address.AddressFamily != AddressFamily.InterNetwork || text.Count(character => character == '.') == 3;

    private static bool IsDottedNumbers(string text) => text.Length > 0 && text.All(character => character == '.' || char.IsAsciiDigit(character));

    private static bool IsDomain(string domain) =>
        domain.Length is > 0 and <= MaxDomain
        && domain.Contains('.', StringComparison.Ordinal)
        && domain.Split('.').All(label => label.Length is > 0 and <= MaxLabel
            && label.All(character => char.IsAsciiLetterOrDigit(character) || character is '-' or '_')
            && label[0] != '-' && label[^1] != '-');

    /// <inheritdoc/>
    public override string ToString() => Text;
}

/// <summary>Protocols that an egress rule matches.</summary>
[Flags]
public enum EgressProtocols
{
    /// <summary>Neither TCP nor UDP.</summary>
    None = 0,

    /// <summary>TCP.</summary>
    Tcp = 1,

    /// <summary>UDP.</summary>
    Udp = 2,
}

/// <summary>A range of ports.</summary>
/// <param name="First">The first port; at least 1.</param>
/// <param name="Last">The last port, included; at most 65,535.</param>
[System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Auto)]
public readonly record struct PortRange(ushort First, ushort Last)
{
    internal static bool TryParse(string text, out PortRange range)
    {
        range = default;
        string[] ends = text.Split('-');
        if (ends.Length > 2
            || !ushort.TryParse(ends[0], NumberStyles.None, CultureInfo.InvariantCulture, out ushort first)
            || !ushort.TryParse(ends[^1], NumberStyles.None, CultureInfo.InvariantCulture, out ushort last)
            || first == 0
            || last < first)
        {
            return false;
        }

        range = new(first, last);
        return true;
    }
}
