namespace Boxer.Network.Links;

/// <summary>The veth pair of one sandbox.</summary>
/// <param name="Number">Its number within the instance: 5 hexadecimal digits. Names of its nftables chains and sets end with it.</param>
/// <param name="Link">Name of the host's end.</param>
/// <param name="Namespace">The named network namespace (ip-netns(8)) with the sandbox's end.</param>
/// <param name="Addresses">The IPv4 addresses of both ends.</param>
/// <param name="IPv6">The IPv6 addresses of both ends; <see langword="null"/> if IPv6 is off.</param>
/// <param name="Zone">The connection tracking zone of packets from the sandbox.</param>
/// <param name="Mark">The connection mark of the sandbox's flows.</param>
internal sealed record GuestLink(string Number, string Link, string Namespace, AddressPair Addresses, AddressPair? IPv6, int Zone, uint Mark)
{
    /// <summary>Name of the sandbox's end.</summary>
    internal const string GuestInterface = "eth0";

    internal string NamespacePath => "/run/netns/" + Namespace;

    /// <summary>Socket priority (SO_PRIORITY) of the upstream DNS packets for this sandbox, in nft(8) notation. It equals the mark.</summary>
    internal string Priority => FormattableString.Invariant($"{Mark >> 16:x}:{Mark & 0xFFFF:x}");

    /// <summary>The ip(8) commands that create the link.</summary>
    /// <param name="kernelHasIPv6">Whether the kernel has IPv6. A kernel without it rejects <c>addrgenmode</c>.</param>
    /// <returns>The commands to run on the host, then those to run in <see cref="Namespace"/>.</returns>
    internal (string Host, string Guest) CreationCommands(bool kernelHasIPv6)
    {
        string host = $"""
            netns add {Namespace}
            link add {Link} type veth peer name {GuestInterface} netns {Namespace}
            {(kernelHasIPv6 ? $"link set {Link} addrgenmode none" : "")}
            addr add {Addresses.Host}/31 dev {Link}
            {(IPv6 is null ? "" : $"addr add {IPv6.Host}/127 dev {Link} nodad")}
            link set {Link} up

            """;
        string guest = $"""
            link set lo up
            {(kernelHasIPv6 ? $"link set {GuestInterface} addrgenmode none" : "")}
            addr add {Addresses.Guest}/31 dev {GuestInterface}
            {(IPv6 is null ? "" : $"addr add {IPv6.Guest}/127 dev {GuestInterface} nodad")}
            link set {GuestInterface} up
            route add default via {Addresses.Host}
            {(IPv6 is null ? "" : $"route add ::/0 via {IPv6.Host}")}

            """;
        return (host, guest);
    }
}
