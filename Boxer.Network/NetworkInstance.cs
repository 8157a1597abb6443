using System.Net;
using Boxer.Common;
using Boxer.Machine;
using Boxer.Network.Firewalls;
using Boxer.Network.Links;
using Boxer.Network.Tools;

namespace Boxer.Network;

/// <summary>The state of this process on the host for the networks of its sandboxes: the firewall, addresses, links and forwarding.</summary>
internal sealed class NetworkInstance : IAsyncDisposable
{
    private readonly NetworkTools _tools;
    private readonly InstanceDirectory _directory;
    private readonly AddressPool _addresses;
    private readonly IReadOnlyList<Forwarding> _forwarding;

    private NetworkInstance(NetworkTools tools, InstanceDirectory directory, Firewall firewall, AddressPool addresses, IReadOnlyList<Forwarding> forwarding, TimeProvider time)
    {
        _tools = tools;
        _directory = directory;
        _addresses = addresses;
        _forwarding = forwarding;
        Firewall = firewall;
        Links = new GuestLinks(tools, directory.Id, addresses, firewall.IPv6);
        Monitor = new RulesMonitor(tools, directory.Id, firewall.IPv6 is not null, Links, forwarding, time);
    }

    internal Firewall Firewall { get; }

    internal GuestLinks Links { get; }

    internal RulesMonitor Monitor { get; }

    /// <summary>Directory of the files that all instances on this host share.</summary>
    internal static string SharedDirectory => Path.Join(InstanceDirectory.DefaultBase(), "network");

    /// <summary>Creates the state of this process. If a step fails, the earlier ones are undone.</summary>
    /// <param name="tools">Runs the programs.</param>
    /// <param name="blocks">IPv4 blocks for the addresses of sandboxes.</param>
    /// <param name="resolvers">The DNS servers that sandboxes without a resolver of their own may reach.</param>
    /// <param name="ipv6">Whether sandboxes have IPv6.</param>
    /// <param name="time">The clock.</param>
    /// <param name="cancellationToken">Cancels the creation.</param>
    internal static async Task<NetworkInstance> CreateAsync(
        NetworkTools tools, IReadOnlyList<IPNetwork> blocks, IReadOnlyList<IPAddress> resolvers, bool ipv6, TimeProvider time, CancellationToken cancellationToken)
    {
        var cleanup = new CleanupStack();
        try
        {
            InstanceDirectory directory = cleanup.Push(InstanceDirectory.Create(InstanceDirectory.DefaultBase()));
            var addresses = cleanup.Push(new AddressPool(Path.Join(SharedDirectory, "addresses"), blocks, token => HostAddressRanges.FindAsync(tools, token), time));
            var firewall = new Firewall(tools, directory.Id, ipv6 ? UniqueLocal.PrefixOf(directory.Id) : null);
            cleanup.Defer(() => Firewall.DeleteTableAsync(tools, firewall.Table, CancellationToken.None));
            await firewall.CreateAsync(resolvers, cancellationToken).ConfigureAwait(false);
            List<Forwarding> forwarding = [];
            foreach (string family in ipv6 ? (string[])[Forwarding.IPv4, Forwarding.IPv6] : [Forwarding.IPv4])
            {
                forwarding.Add(cleanup.Push(await Forwarding.EnableAsync(family, tools, SharedDirectory, time, cancellationToken).ConfigureAwait(false)));
            }

            cleanup.Defer(() => ForeignFirewalls.RemoveAsync(tools, id => id == directory.Id));
            await ForeignFirewalls.AllowLinksAsync(tools, directory.Id, ipv6, cancellationToken).ConfigureAwait(false);
            return new NetworkInstance(tools, directory, firewall, addresses, forwarding, time);
        }
        catch
        {
            await cleanup.AbandonAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Removes links, namespaces, tables, rules and forwarding of dead instances.</summary>
    internal static async Task ReconcileAsync(NetworkTools tools, TimeProvider time, CancellationToken cancellationToken)
    {
        await GuestLinks.DeleteAsync(tools, name => LinkNames.InstanceOf(name) is { } id && IsDead(id), cancellationToken).ConfigureAwait(false);
        foreach (string id in (await FirewallTable.FindInstancesAsync(tools, cancellationToken).ConfigureAwait(false)).Where(IsDead).ToArray())
        {
            await Firewall.DeleteTableAsync(tools, FirewallTable.NameOf(id), cancellationToken).ConfigureAwait(false);
        }

        await ForeignFirewalls.RemoveAsync(tools, IsDead).ConfigureAwait(false);
        await Forwarding.ReconcileAsync(Forwarding.IPv4, tools, SharedDirectory, time).ConfigureAwait(false);
        await Forwarding.ReconcileAsync(Forwarding.IPv6, tools, SharedDirectory, time).ConfigureAwait(false);

        static bool IsDead(string id) => !InstanceDirectory.IsAlive(InstanceDirectory.DefaultBase(), id);
    }

    /// <summary>Creates the link of a sandbox.</summary>
    /// <inheritdoc cref="GuestLinks.AddAsync"/>
    internal async Task<GuestLink> AddLinkAsync(CancellationToken cancellationToken)
    {
        await Monitor.RefreshForeignRulesAsync(cancellationToken).ConfigureAwait(false);
        return await Links.AddAsync(range => Firewall.AddAddressesAsync(range, cancellationToken), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Whether a link exists and the firewall filters it.</summary>
    internal bool IsUsable(GuestLink link) => !Monitor.IsTableLost && GuestLinks.Exists(link);

    public async ValueTask DisposeAsync()
    {
        await Monitor.DisposeAsync().ConfigureAwait(false);
        var cleanup = new CleanupStack();
        cleanup.Push(_directory);
        cleanup.Push(Firewall);
        cleanup.Push(_addresses);
        foreach (Forwarding forwarding in _forwarding)
        {
            cleanup.Push(forwarding);
        }

        cleanup.Defer(() => Firewall.DeleteTableAsync(_tools, Firewall.Table, CancellationToken.None));
        cleanup.Defer(() => ForeignFirewalls.RemoveAsync(_tools, id => id == _directory.Id));

        // Links whose removal failed when their sandboxes ended.
        cleanup.Defer(() => GuestLinks.DeleteAsync(_tools, name => LinkNames.InstanceOf(name) == _directory.Id, CancellationToken.None));
        await cleanup.DisposeAsync().ConfigureAwait(false);
    }
}
