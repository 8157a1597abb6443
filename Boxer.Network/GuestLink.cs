namespace Boxer.Network;

/// <summary>The veth pair of one sandbox.</summary>
/// <param name="Number">Its number within the instance, in hexadecimal; also in the names of its chains.</param>
/// <param name="Link">The host's end.</param>
/// <param name="Namespace">The named network namespace (ip-netns(8)) that the sandbox's end is in.</param>
/// <param name="Addresses">The addresses of both ends.</param>
/// <param name="IPv6">Those of IPv6, or <see langword="null"/> where it is off.</param>
/// <param name="Zone">The connection tracking zone of what it sends.</param>
/// <param name="Mark">The connection mark of its flows.</param>
internal sealed record GuestLink(string Number, string Link, string Namespace, AddressPair Addresses, AddressPair? IPv6, int Zone, uint Mark)
{
    /// <summary>The sandbox's end.</summary>
    internal const string Inner = "eth0";

    internal string NamespacePath => "/run/netns/" + Namespace;

    /// <summary>Socket priority (SO_PRIORITY) of the upstream DNS packets for this sandbox, in nft(8) notation. It equals the mark.</summary>
    internal string Priority => FormattableString.Invariant($"{Mark >> 16:x}:{Mark & 0xFFFF:x}");

    /// <summary>The lines of ip(8) that make it: on this host, then in its namespace.</summary>
    /// <param name="kernelHasIPv6">Whether links have addresses of IPv6 at all: a kernel without it refuses to be told how they are chosen.</param>
    internal (string Ours, string Theirs) Lines(bool kernelHasIPv6)
    {
        string ours = $"""
            netns add {Namespace}
            link add {Link} type veth peer name {Inner} netns {Namespace}
            {(kernelHasIPv6 ? $"link set {Link} addrgenmode none" : "")}
            addr add {Addresses.Host}/31 dev {Link}
            {(IPv6 is null ? "" : $"addr add {IPv6.Host}/127 dev {Link} nodad")}
            link set {Link} up

            """;
        string theirs = $"""
            link set lo up
            {(kernelHasIPv6 ? $"link set {Inner} addrgenmode none" : "")}
            addr add {Addresses.Guest}/31 dev {Inner}
            {(IPv6 is null ? "" : $"addr add {IPv6.Guest}/127 dev {Inner} nodad")}
            link set {Inner} up
            route add default via {Addresses.Host}
            {(IPv6 is null ? "" : $"route add ::/0 via {IPv6.Host}")}

            """;
        return (ours, theirs);
    }
}

/// <summary>Names on this host that carry an instance. A link's has room for 15 characters (IFNAMSIZ).</summary>
internal static class LinkNames
{
    /// <summary>What the names of all links of all instances start with.</summary>
    internal const string Common = "bx";

    internal const int IdLength = 8;

    internal static string Prefix(string instanceId) => Common + instanceId;

    internal static string Link(string instanceId, uint number) => FormattableString.Invariant($"{Prefix(instanceId)}{number & 0xFFFFF:x5}");

    internal static string Namespace(string instanceId, uint number) => FormattableString.Invariant($"{Prefix(instanceId)}-{number & 0xFFFFF:x5}");

    /// <summary>Whether a text is the identifier of an instance.</summary>
    internal static bool IsId(string text) => text.Length == IdLength && text.All(char.IsAsciiHexDigitLower);

    /// <summary>The instance in a name of ours, or <see langword="null"/> for another's name.</summary>
    internal static string? InstanceOf(string name) =>
        name.StartsWith(Common, StringComparison.Ordinal)
        && name.Length > Common.Length + IdLength
        && IsId(name.Substring(Common.Length, IdLength))
            ? name.Substring(Common.Length, IdLength)
            : null;
}
