using System.Net.Sockets;
using Boxer.Network.Links;
using Boxer.Networking;

namespace Boxer.Network.Firewalls;

/// <summary>
/// An nftables set with the addresses that the allowed domains of one policy layer resolved to. Domains with the same protocols and ports
/// share a set for each address family.
/// </summary>
/// <param name="Name">Name of the set.</param>
/// <param name="Family">Its address family.</param>
/// <param name="Layer">Index of the layer in <see cref="NetworkPolicy.Layers"/>.</param>
/// <param name="Rules">The rules that share the set.</param>
internal sealed record DomainSet(string Name, AddressFamily Family, int Layer, IReadOnlyList<EgressRule> Rules)
{
    /// <summary>The sets of a sandbox with a policy.</summary>
    internal static IEnumerable<DomainSet> Of(GuestLink guest, NetworkPolicy policy)
    {
        AddressFamily[] families = guest.IPv6 is null ? [AddressFamily.InterNetwork] : [AddressFamily.InterNetwork, AddressFamily.InterNetworkV6];
        return policy.Layers.SelectMany((layer, i) => (layer.Allow ?? [])
            .Where(rule => rule.Domain is not null)
            .GroupBy(rule => (rule.Protocols, string.Join(',', rule.Ports)))
            .SelectMany((group, j) => families
                .Select(family => new DomainSet($"domain{(family == AddressFamily.InterNetwork ? 4 : 6)}_{i}_{j}_{guest.Number}", family, i, [.. group]))));
    }

    /// <summary>Names of the sets that receive the addresses of an allowed domain: one for each layer that allows it.</summary>
    internal static IEnumerable<string> NamesFor(GuestLink guest, NetworkPolicy policy, string domain, AddressFamily family) =>
        Of(guest, policy).Where(set => set.Family == family && set.Rules.Any(rule => rule.MatchesName(domain))).Select(set => set.Name);
}
