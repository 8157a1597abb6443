using System.Net;

namespace Boxer.Networking;

/// <summary>
/// Destinations that a sandbox may reach, for the network mode <c>sandbox</c> and other modes that enforce policies. The empty policy allows
/// the public internet. It excludes all addresses of this host, the metadata services of clouds, and the private, carrier-grade NAT,
/// link-local, loopback, multicast and reserved ranges.
/// </summary>
/// <remarks>
/// A rule is <c>[tcp://|udp://]DESTINATION[:PORTS]</c>. The destination is an address, a CIDR range, a domain such as <c>pypi.org</c>, or
/// <c>*.pypi.org</c> for all domains below one. Ports are numbers and ranges, separated by commas. A rule without a protocol matches TCP and
/// UDP; a rule without ports matches all ports. Examples: <c>pypi.org:443</c>, <c>203.0.113.0/24</c>, <c>udp://203.0.113.7:123</c>,
/// <c>tcp://*.example.org:80,443,8000-8099</c>.
/// </remarks>
public sealed class EgressPolicy
{
    /// <summary>
    /// Rules of the only destinations that may be reached; at most 256. With such rules, a resolver of Boxer answers the sandbox's DNS queries, for
    /// allowed domains only. In <see cref="BoxerOptions.Egress"/>, a rule for a private address or range opens it. A rule for a range that also
    /// has public addresses, such as 0.0.0.0/0, opens only those.
    /// <value>Default <see langword="null"/>: all public destinations. Empty: no destination.</value>
    /// </summary>
    public IList<string>? Allow { get; set; }

    /// <summary>
    /// Rules of destinations that may not be reached, even if another rule allows them; at most 256. A rule for an address without protocol and
    /// ports matches all protocols, ICMP included. A denied domain does not resolve; its addresses can still be reached unless they are denied too.
    /// <value>Default empty.</value>
    /// </summary>
    public IList<string> Deny { get; set; } = [];

    /// <summary>
    /// Maximum bandwidth in each direction, in bits per second; 8,000 to 100,000,000,000.
    /// <value>Default <see langword="null"/>: no limit.</value>
    /// </summary>
    public long? BandwidthBitsPerSecond { get; set; }

    /// <summary>
    /// Maximum traffic of one run, in bytes, both directions together; 1 byte to 1 EiB. DNS queries that Boxer's resolver sends for the run count
    /// too. Packets beyond the quota are dropped.
    /// <value>Default <see langword="null"/>: no limit.</value>
    /// </summary>
    public long? QuotaBytes { get; set; }

    /// <summary>
    /// Evaluates this policy alone, as the operator's policy. It calls <see cref="NetworkPolicy.Combine(EgressPolicy, EgressPolicy?, bool)"/> and
    /// <see cref="NetworkPolicy.Allows(IPAddress, int, EgressProtocols, string?)"/>, so it parses the rules at each call. A mode that evaluates each
    /// connection should keep the <see cref="NetworkPolicy"/>.
    /// </summary>
    /// <param name="address">The destination. An IPv4-mapped IPv6 address is never allowed: convert it to IPv4 first.</param>
    /// <param name="port">The port, 0 to 65,535; ignored for protocols other than TCP and UDP.</param>
    /// <param name="protocol">
    /// TCP or UDP; both flags: whether both are allowed; <see cref="EgressProtocols.None"/>: another protocol, such as ICMP.
    /// </param>
    /// <returns>Whether the destination is allowed. Domain rules match no address.</returns>
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
