using System.Net;

namespace Boxer.Networking;

/// <summary>
/// Destinations that a sandbox may reach, of the network mode <c>sandbox</c> or another one that enforces policies. The empty policy is the
/// public internet: not this host on any of its addresses, not private, carrier-grade NAT, link-local, loopback, multicast and reserved ranges, and not the metadata services of clouds.
/// </summary>
/// <remarks>
/// A rule is <c>[tcp://|udp://]DESTINATION[:PORTS]</c>. The destination is an address, a CIDR range, a domain such as
/// <c>pypi.org</c>, or <c>*.pypi.org</c> for everything below one; ports are numbers and ranges with commas between them. Without a
/// protocol a rule is for tcp and udp, and without ports for all of them. Examples: <c>pypi.org:443</c>, <c>203.0.113.0/24</c>,
/// <c>udp://203.0.113.7:123</c>, <c>tcp://*.example.org:80,443,8000-8099</c>.
/// </remarks>
public sealed class EgressPolicy
{
    /// <summary>
    /// What may be reached, and nothing else; at most 256 rules. Names are then answered by a resolver of this host's, which knows only
    /// the domains that are allowed. In <see cref="BoxerOptions.Egress"/> a private range or address here is opened; one that is
    /// wider than what is private, such as 0.0.0.0/0, opens public addresses only.
    /// <value>Default <see langword="null"/>: all that is public. Empty: nothing.</value>
    /// </summary>
    public IList<string>? Allow { get; set; }

    /// <summary>
    /// What may not be reached, whatever else allows it; at most 256 rules. A rule of an address without protocol and ports is for all
    /// protocols. A domain here is not resolved; whoever knows its address can
    /// still reach that, unless the address is denied too.
    /// <value>Default empty.</value>
    /// </summary>
    public IList<string> Deny { get; set; } = [];

    /// <summary>
    /// Bits per second, in each direction; 8,000 to 100,000,000,000.
    /// <value>Default <see langword="null"/>: no limit.</value>
    /// </summary>
    public long? BandwidthBitsPerSecond { get; set; }

    /// <summary>
    /// Bytes of one run, both directions together, and what Boxer's resolver asks other resolvers for it; packets after them are
    /// dropped. 1 byte to 1 EiB.
    /// <value>Default <see langword="null"/>: no limit.</value>
    /// </summary>
    public long? QuotaBytes { get; set; }

    /// <summary>
    /// Evaluates this policy as the operator's, alone: the answer of <see cref="NetworkPolicy.Allows(IPAddress, int, EgressProtocols, string?)"/>
    /// for <see cref="NetworkPolicy.Combine(EgressPolicy, EgressPolicy?, bool)"/> of it. The rules are parsed at each call; a mode that asks for
    /// each connection keeps the <see cref="NetworkPolicy"/>.
    /// </summary>
    /// <param name="address">The destination. An IPv4 address that is mapped to IPv6 is never public; map it back before.</param>
    /// <param name="port">The port, 0 to 65,535; ignored for other protocols than TCP and UDP.</param>
    /// <param name="protocol">TCP or UDP; both: whether both are allowed; <see cref="EgressProtocols.None"/>: another protocol, such as ICMP.</param>
    /// <returns>
    /// Whether a connection to the destination is let through. Rules of domains match no address: an address that only such a rule allows is
    /// <see langword="false"/>.
    /// </returns>
    /// <exception cref="ArgumentException">A rule is malformed; the message names it.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The port or the protocol is out of range.</exception>
    public bool Allows(IPAddress address, int port, EgressProtocols protocol = EgressProtocols.Tcp) =>
        NetworkPolicy.Combine(this).Allows(address, port, protocol);

    internal EgressPolicy Copy() => new()
    {
        Allow = Allow is null ? null : [.. Allow],
        Deny = [.. Deny],
        BandwidthBitsPerSecond = BandwidthBitsPerSecond,
        QuotaBytes = QuotaBytes,
    };
}
