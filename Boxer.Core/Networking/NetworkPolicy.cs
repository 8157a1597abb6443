using System.Net;
using System.Net.Sockets;
using Boxer.Common;

namespace Boxer.Networking;

/// <summary>
/// The network policy of one run or session: the <see cref="EgressPolicy"/> of the operator and that of the request, parsed. A destination must be allowed
/// by every layer.
/// </summary>
public sealed class NetworkPolicy
{
    private const EgressProtocols AllProtocols = EgressProtocols.Tcp | EgressProtocols.Udp;
    private const int DnsPort = 53;
    private const int DnsOverTlsPort = 853;

    private NetworkPolicy(IReadOnlyList<EgressLayer> layers, long? bandwidthBitsPerSecond, long? quotaBytes, bool isForSession = false)
    {
        IsForSession = isForSession;
        Layers = layers;
        BandwidthBitsPerSecond = bandwidthBitsPerSecond;
        QuotaBytes = quotaBytes;
        FiltersNames = layers.Any(layer => layer.Allow is not null || layer.Deny.Any(rule => rule.Domain is not null));
    }

    /// <summary>The policies that apply, the operator's first; one or two.</summary>
    public IReadOnlyList<EgressLayer> Layers { get; }

    /// <summary>Maximum bandwidth in each direction, in bits per second; <see langword="null"/>: no limit.</summary>
    public long? BandwidthBitsPerSecond { get; }

    /// <summary>Maximum traffic in both directions together, in bytes; <see langword="null"/>: no limit.</summary>
    public long? QuotaBytes { get; }

    /// <summary>
    /// Whether the mode must answer DNS queries itself, according to <see cref="AllowsName"/>, because a layer has a list of allowed destinations or
    /// denies a domain. Ports 53 (DNS) and 853 (DNS over TLS) of other machines are then denied.
    /// </summary>
    public bool FiltersNames { get; }

    /// <summary>Whether the network is that of a session, and may live for days. Bounds that suffice for a run are then refilled over time.</summary>
    internal bool IsForSession { get; }

    /// <summary>Combines the policies of the operator and of a request, as a run does.</summary>
    /// <param name="configured">The policy of the operator: <see cref="BoxerOptions.Egress"/>.</param>
    /// <param name="requested">The policy of the request: <see cref="SandboxRequest.Egress"/>; <see langword="null"/>: none.</param>
    /// <param name="replaces">
    /// Whether the policy of the request replaces the operator's (<see cref="BoxerOptions.AllowWiderEgress"/>). Otherwise both must allow a destination.
    /// </param>
    /// <exception cref="ArgumentException">A rule is malformed; the message names it.</exception>
    public static NetworkPolicy Combine(EgressPolicy configured, EgressPolicy? requested = null, bool replaces = false)
    {
        ArgumentNullException.ThrowIfNull(configured);
        return Combine(CheckedEgress.Parse(configured), requested is null ? null : CheckedEgress.Parse(requested), replaces);
    }

    /// <summary>Combines parsed policies.</summary>
    /// <inheritdoc cref="Combine(EgressPolicy, EgressPolicy?, bool)"/>
    internal static NetworkPolicy Combine(CheckedEgress configured, CheckedEgress? requested, bool replaces)
    {
        CheckedEgress[] policies = requested is null ? [configured] : replaces ? [requested] : [configured, requested];
        return new(
            [.. policies.Select((policy, index) => new EgressLayer(policy.Allow, policy.Deny, opensPrivate: index == 0))],
            policies.Min(policy => policy.BandwidthBitsPerSecond),
            policies.Min(policy => policy.QuotaBytes));
    }

    /// <summary>Creates the same policy for the network of a session.</summary>
    internal NetworkPolicy ForSession() => new(Layers, BandwidthBitsPerSecond, QuotaBytes, isForSession: true);

    /// <summary>
    /// Evaluates the policy for a destination, with the same result as in the network mode <c>sandbox</c>. A denial overrides every other rule. An
    /// address that is not public is denied unless the operator's rules open it. Every layer must allow the destination.
    /// </summary>
    /// <remarks>
    /// TCP and UDP ports 53 and 853 are denied if <see cref="FiltersNames"/> is set, because the mode answers DNS queries itself.
    /// The policy does not know the addresses of this host, of other sandboxes and of the mode's DNS servers. The mode must deny the first two
    /// whatever the result is, and may allow the last.
    /// </remarks>
    /// <param name="address">The destination. An IPv4-mapped IPv6 address is never allowed: convert it to IPv4 first.</param>
    /// <param name="port">The port, 0 to 65,535; ignored for protocols other than TCP and UDP.</param>
    /// <param name="protocol">
    /// TCP or UDP; both flags: whether both are allowed; <see cref="EgressProtocols.None"/>: another protocol, such as ICMP.
    /// </param>
    /// <param name="domain">
    /// The name that the mode itself resolved to the address; never a name that the sandbox only claims. <see langword="null"/> if it resolved none:
    /// domain rules then match nothing.
    /// </param>
    /// <returns>Whether the destination is allowed.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The port or the protocol is out of range.</exception>
    public bool Allows(IPAddress address, int port, EgressProtocols protocol = EgressProtocols.Tcp, string? domain = null)
    {
        ArgumentNullException.ThrowIfNull(address);
        ArgumentOutOfRangeException.ThrowIfNegative(port);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(port, ushort.MaxValue);
        ArgumentOutOfRangeException.ThrowIfNotEqual(protocol & ~AllProtocols, EgressProtocols.None, nameof(protocol));
        if (protocol == AllProtocols)
        {
            return Allows(address, port, EgressProtocols.Tcp, domain) && Allows(address, port, EgressProtocols.Udp, domain);
        }

        // IPNetwork.Contains treats an IPv4-mapped address as the IPv4 address.
        if (address.IsIPv4MappedToIPv6
            || !IsUnicastToOtherMachine(address)
            || (FiltersNames && protocol != EgressProtocols.None && port is DnsPort or DnsOverTlsPort)
            || Layers.Any(layer => layer.Deny.Any(rule => rule.MatchesAddress(address) && (rule.HasNoProtocolAndPorts || rule.MatchesPort(protocol, port))))
            || (domain is not null && !AllowsName(domain)))
        {
            return false;
        }

        string? name = domain is null ? null : Normalize(domain);
        int first = 0;
        if (SpecialAddressRanges.IsClosedToGuests(address))
        {
            // A layer that opens the address allows it. Later layers are still evaluated.
            while (!Layers[first].PrivateRules.Any(rule => rule.MatchesAddress(address) && rule.MatchesPort(protocol, port)))
            {
                if (++first == Layers.Count)
                {
                    return false;
                }
            }

            first++;
        }

        return Layers.Skip(first).All(layer => layer.Allow is null
            || layer.Allow.Any(rule => (rule.MatchesAddress(address) || (name is not null && rule.MatchesName(name))) && rule.MatchesPort(protocol, port)));
    }

    /// <summary>
    /// Whether a name may be resolved for the sandbox: no layer denies it, and each layer with a list of allowed destinations allows it. Check each
    /// resolved address with <see cref="Allows"/> and the name: an address that is not public stays denied.
    /// </summary>
    /// <param name="name">A domain name, in any letter case.</param>
    public bool AllowsName(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        string normal = Normalize(name);
        return Layers.All(layer =>
            !layer.Deny.Any(rule => rule.MatchesName(normal)) && (layer.Allow is null || layer.Allow.Any(rule => rule.MatchesName(normal))));
    }

    // No rule opens loopback, multicast and broadcast addresses, because none of them is the address of one other machine.
    private static bool IsUnicastToOtherMachine(IPAddress address) => address.AddressFamily == AddressFamily.InterNetwork
        ? address.GetAddressBytes() is not [0 or 127 or (>= 224 and < 240), ..] and not [255, 255, 255, 255]
        : !address.IsIPv6Multicast && !IPAddress.IsLoopback(address) && !address.Equals(IPAddress.IPv6Any);

    private static string Normalize(string name) => name.TrimEnd('.').ToLowerInvariant();
}

/// <summary>One policy of a <see cref="NetworkPolicy"/>, for modes that translate it to rules of their own.</summary>
public sealed class EgressLayer
{
    internal EgressLayer(IReadOnlyList<EgressRule>? allow, IReadOnlyList<EgressRule> deny, bool opensPrivate)
    {
        Allow = allow;
        Deny = deny;
        OpensPrivate = opensPrivate;
        PrivateRules = opensPrivate ? [.. (allow ?? []).Where(rule => rule.Range is { } range && SpecialAddressRanges.CanBeOpened(range))] : [];
    }

    /// <summary>Rules of allowed destinations; <see langword="null"/>: all public ones.</summary>
    public IReadOnlyList<EgressRule>? Allow { get; }

    /// <summary>Rules of denied destinations.</summary>
    public IReadOnlyList<EgressRule> Deny { get; }

    /// <summary>The rules of <see cref="Allow"/> that open addresses that are not public, because no address of their range is public.</summary>
    public IReadOnlyList<EgressRule> PrivateRules { get; }

    /// <summary>Whether rules of <see cref="Allow"/> may open private addresses.</summary>
    internal bool OpensPrivate { get; }
}
