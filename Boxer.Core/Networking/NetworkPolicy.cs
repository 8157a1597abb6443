using System.Net;
using System.Net.Sockets;
using Boxer.Common;

namespace Boxer.Networking;

/// <summary>
/// The policy of one run's network: the operator's <see cref="EgressPolicy"/> and the request's, parsed. A destination must be let through by
/// every layer.
/// </summary>
public sealed class NetworkPolicy
{
    private const EgressProtocols AllProtocols = EgressProtocols.Tcp | EgressProtocols.Udp;
    private const int DnsPort = 53;
    private const int DnsOverTlsPort = 853;

    private NetworkPolicy(IReadOnlyList<EgressLayer> layers, long? bandwidthBitsPerSecond, long? quotaBytes)
    {
        Layers = layers;
        BandwidthBitsPerSecond = bandwidthBitsPerSecond;
        QuotaBytes = quotaBytes;
        FiltersNames = layers.Any(layer => layer.Allow is not null || layer.Deny.Any(rule => rule.Domain is not null));
    }

    /// <summary>The policies that hold, the operator's first; one or two.</summary>
    public IReadOnlyList<EgressLayer> Layers { get; }

    /// <summary>Bits per second in each direction, or <see langword="null"/> for no limit.</summary>
    public long? BandwidthBitsPerSecond { get; }

    /// <summary>Bytes in both directions together, or <see langword="null"/> for no limit.</summary>
    public long? QuotaBytes { get; }

    /// <summary>
    /// Whether the mode has to answer names itself, by <see cref="AllowsName"/>: a policy has a list of allowed destinations, or denies a domain.
    /// Ports 53 (DNS) and 853 (DNS over TLS) of other machines are closed then.
    /// </summary>
    public bool FiltersNames { get; }

    /// <summary>Combines the policies of the operator and of a request, as a run does.</summary>
    /// <param name="configured">The operator's: <see cref="BoxerOptions.Egress"/>.</param>
    /// <param name="requested">The request's: <see cref="SandboxRequest.Egress"/>; <see langword="null"/> for none.</param>
    /// <param name="replaces">
    /// Whether the request's stands in for the operator's (<see cref="BoxerOptions.AllowWiderEgress"/>); else both must let a destination through.
    /// </param>
    /// <exception cref="ArgumentException">A rule is malformed; the message names it.</exception>
    public static NetworkPolicy Combine(EgressPolicy configured, EgressPolicy? requested = null, bool replaces = false)
    {
        ArgumentNullException.ThrowIfNull(configured);
        return Combine(CheckedEgress.Parse(configured), requested is null ? null : CheckedEgress.Parse(requested), replaces);
    }

    /// <summary>Combines policies that were parsed.</summary>
    /// <inheritdoc cref="Combine(EgressPolicy, EgressPolicy?, bool)"/>
    internal static NetworkPolicy Combine(CheckedEgress configured, CheckedEgress? requested, bool replaces)
    {
        CheckedEgress[] policies = requested is null ? [configured] : replaces ? [requested] : [configured, requested];
        return new(
            [.. policies.Select((policy, index) => new EgressLayer(policy.Allow, policy.Deny, opensPrivate: index == 0))],
            policies.Min(policy => policy.BandwidthBitsPerSecond),
            policies.Min(policy => policy.QuotaBytes));
    }

    /// <summary>
    /// Evaluates the policy for a destination, with the same answer as the network mode <c>sandbox</c>: what is denied is refused whatever allows
    /// it, addresses that are not public are refused unless the operator's rules open them, and every layer must let the destination through.
    /// </summary>
    /// <remarks>
    /// Ports 53 and 853 of TCP and UDP are refused where <see cref="FiltersNames"/>: the mode answers names itself.
    /// The policy does not know addresses of this host and of other sandboxes, and the mode's own resolvers: the mode refuses the first
    /// whatever the answer is, and may let the last through.
    /// </remarks>
    /// <param name="address">The destination. An IPv4 address that is mapped to IPv6 is never public; map it back before.</param>
    /// <param name="port">The port, 0 to 65,535; ignored for other protocols than TCP and UDP.</param>
    /// <param name="protocol">TCP or UDP; both: whether both are allowed; <see cref="EgressProtocols.None"/>: another protocol, such as ICMP.</param>
    /// <param name="domain">
    /// The name that the mode resolved the address from, never one that the sandbox only claims; <see langword="null"/> where it resolved none:
    /// rules of domains then allow nothing, and deny nothing.
    /// </param>
    /// <returns>Whether a connection to the destination is let through.</returns>
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

        // IPNetwork takes an address that is mapped for the one that it is mapped from.
        if (address.IsIPv4MappedToIPv6
            || !IsOfOneMachine(address)
            || (FiltersNames && protocol != EgressProtocols.None && port is DnsPort or DnsOverTlsPort)
            || Layers.Any(layer => layer.Deny.Any(rule => rule.MatchesAddress(address) && (rule.IsForAll || rule.MatchesPort(protocol, port))))
            || (domain is not null && !AllowsName(domain)))
        {
            return false;
        }

        string? name = domain is null ? null : Normalize(domain);
        int first = 0;
        if (SpecialRanges.IsClosedToGuests(address))
        {
            // The layer that opens it has let it through.
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
    /// Whether a name may be resolved for the sandbox: no layer denies it, and each that has a list allows it. The addresses are to be checked by
    /// <see cref="Allows"/> with the name: one that is not public stays closed.
    /// </summary>
    /// <param name="name">A domain name, in any letter case.</param>
    public bool AllowsName(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        string normal = Normalize(name);
        return Layers.All(layer =>
            !layer.Deny.Any(rule => rule.MatchesName(normal)) && (layer.Allow is null || layer.Allow.Any(rule => rule.MatchesName(normal))));
    }

    // No rule opens loopback, multicast and broadcast addresses: none of them is a way to one other machine.
    private static bool IsOfOneMachine(IPAddress address) => address.AddressFamily == AddressFamily.InterNetwork
        ? address.GetAddressBytes() is not [0 or 127 or (>= 224 and < 240), ..] and not [255, 255, 255, 255]
        : !address.IsIPv6Multicast && !IPAddress.IsLoopback(address) && !address.Equals(IPAddress.IPv6Any);

    private static string Normalize(string name) => name.TrimEnd('.').ToLowerInvariant();
}

/// <summary>One policy of a <see cref="NetworkPolicy"/>, for modes that make rules of their own of it.</summary>
public sealed class EgressLayer
{
    internal EgressLayer(IReadOnlyList<EgressRule>? allow, IReadOnlyList<EgressRule> deny, bool opensPrivate)
    {
        Allow = allow;
        Deny = deny;
        OpensPrivate = opensPrivate;
        PrivateRules = opensPrivate ? [.. (allow ?? []).Where(rule => rule.Range is { } range && SpecialRanges.CanBeOpened(range))] : [];
    }

    /// <summary>What may be reached, or <see langword="null"/> for all that is public.</summary>
    public IReadOnlyList<EgressRule>? Allow { get; }

    /// <summary>What may not be reached.</summary>
    public IReadOnlyList<EgressRule> Deny { get; }

    /// <summary>The rules of <see cref="Allow"/> that open addresses that are not public: those whose whole range is not.</summary>
    public IReadOnlyList<EgressRule> PrivateRules { get; }

    /// <summary>Whether addresses in <see cref="Allow"/> may be private ones.</summary>
    internal bool OpensPrivate { get; }
}
