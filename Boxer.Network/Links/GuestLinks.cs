using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using Boxer.Common;
using Boxer.Network.Tools;

namespace Boxer.Network.Links;

/// <summary>Creates, limits and removes the links of one instance.</summary>
internal sealed class GuestLinks
{
    private const int MaxDeletionAttempts = 3;
    private const int MaxZones = 65_534;
    private readonly NetworkTools _tools;
    private readonly string _instanceId;
    private readonly AddressPool _addresses;
    private readonly IPNetwork? _ipv6;
    private readonly ConcurrentDictionary<string, GuestLink> _links = new(StringComparer.Ordinal);
    private uint _lastNumber = (uint)Random.Shared.Next();

    /// <param name="tools">Runs ip and tc.</param>
    /// <param name="instanceId">The instance.</param>
    /// <param name="addresses">The IPv4 addresses of the links.</param>
    /// <param name="ipv6">The IPv6 range of the instance's sandboxes; <see langword="null"/>: they have no IPv6.</param>
    internal GuestLinks(NetworkTools tools, string instanceId, AddressPool addresses, IPNetwork? ipv6)
    {
        _tools = tools;
        _instanceId = instanceId;
        _addresses = addresses;
        _ipv6 = ipv6;
    }

    internal bool IsEmpty => _links.IsEmpty;

    /// <summary>Creates the veth pair of a sandbox. The firewall drops its traffic until the rules of the sandbox are installed.</summary>
    /// <param name="onNewRange">Receives each newly claimed range of addresses before an address of it is used.</param>
    /// <param name="cancellationToken">Cancels the creation; the link is removed.</param>
    /// <exception cref="SandboxCapacityException">All addresses are in use or wait for reuse.</exception>
    internal async Task<GuestLink> AddAsync(Func<IPNetwork, Task> onNewRange, CancellationToken cancellationToken)
    {
        AddressPair addresses = await _addresses.AcquireAsync(onNewRange, cancellationToken).ConfigureAwait(false);
        GuestLink link = Describe(NextNumber(), addresses);
        try
        {
            (string host, string guest) = link.CreationCommands(kernelHasIPv6: Directory.Exists("/proc/sys/net/ipv6"));
            await _tools.IpAsync(null, host, cancellationToken).ConfigureAwait(false);
            await _tools.IpAsync(link.Namespace, guest, cancellationToken).ConfigureAwait(false);
            Harden(link);
            _links[link.Link] = link;
            return link;
        }
        catch
        {
            var cleanup = new CleanupStack();
            cleanup.Defer(() => RemoveAsync(link, hadTraffic: false));
            await cleanup.AbandonAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Removes a link. If that fails, its addresses are never used again.</summary>
    /// <param name="link">The link.</param>
    /// <param name="hadTraffic">Whether packets may have passed the link, so that reuse of its addresses is delayed.</param>
    internal async Task RemoveAsync(GuestLink link, bool hadTraffic)
    {
        await DeleteAsync(_tools, name => name == link.Link || name == link.Namespace, CancellationToken.None).ConfigureAwait(false);
        _links.TryRemove(link.Link, out _);
        await _addresses.ReleaseAsync(link.Addresses, hadTraffic).ConfigureAwait(false);
    }

    /// <summary>Limits the bandwidth of a link in each direction, by delaying packets (tc-tbf(8)).</summary>
    internal async Task LimitBandwidthAsync(GuestLink link, long bitsPerSecond, CancellationToken cancellationToken)
    {
        // The burst holds the largest segment that a network stack sends at once, or the traffic of 1/20 s.
        long burst = Math.Max(70_000, bitsPerSecond / 8 / 20);
        string Command(string device) => FormattableString.Invariant($"qdisc add dev {device} root tbf rate {bitsPerSecond}bit burst {burst} latency 200ms\n");
        await Task.WhenAll(
            _tools.TcAsync(null, Command(link.Link), cancellationToken),
            _tools.TcAsync(link.Namespace, Command(GuestLink.GuestInterface), cancellationToken)).ConfigureAwait(false);
    }

    /// <summary>Sets all links down.</summary>
    internal Task SetDownAsync(CancellationToken cancellationToken) =>
        _tools.IpAsync(null, string.Concat(_links.Keys.Select(link => $"link set {link} down\n")), cancellationToken);

    /// <summary>Whether the host's end of a link exists.</summary>
    internal static bool Exists(GuestLink link) => Directory.Exists($"/sys/class/net/{link.Link}");

    /// <summary>Reads how many bytes the sandbox received and sent, as its link counts them.</summary>
    internal static (long Received, long Sent) ReadBytes(GuestLink link)
    {
        // The counters belong to the host's end: the sandbox receives what it transmits.
        return (Read("tx_bytes"), Read("rx_bytes"));

        long Read(string file) => long.Parse(File.ReadAllText($"/sys/class/net/{link.Link}/statistics/{file}"), CultureInfo.InvariantCulture);
    }

    /// <summary>Deletes links and network namespaces of this host.</summary>
    /// <param name="tools">Runs ip.</param>
    /// <param name="matches">Whether to delete the link or the namespace with a name.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    internal static async Task DeleteAsync(NetworkTools tools, Func<string, bool> matches, CancellationToken cancellationToken)
    {
        for (int attempt = 1; Commands("/sys/class/net", "link") + Commands("/run/netns", "netns") is { Length: > 0 } batch; attempt++)
        {
            try
            {
                await tools.IpAsync(null, batch, cancellationToken).ConfigureAwait(false);
            }
            catch (SandboxRuntimeException) when (attempt < MaxDeletionAttempts)
            {
                // Another instance that starts deletes leftovers of dead instances too.
            }
        }

        string Commands(string directory, string kind) => !Directory.Exists(directory) ? "" : string.Concat(
            Directory.GetFileSystemEntries(directory).Select(path => Path.GetFileName(path)).Where(matches).Select(name => $"{kind} delete {name}\n"));
    }

    // Numbers wrap around. Skips the number of a sandbox that still exists.
    private uint NextNumber()
    {
        uint number;
        do
        {
            number = Interlocked.Increment(ref _lastNumber);
        }
        while (_links.ContainsKey(LinkNames.Link(_instanceId, number)));
        return number;
    }

    private GuestLink Describe(uint number, AddressPair addresses) => new(
        LinkNames.Suffix(number),
        LinkNames.Link(_instanceId, number),
        LinkNames.Namespace(_instanceId, number),
        addresses,
        _ipv6 is { } prefix ? UniqueLocal.PairOf(prefix, number) : null,
        Zone: 1 + (int)(number % MaxZones),
        Mark: number | 1u << 31);

    // The host's end answers ARP for its own address only, and ignores router advertisements and redirects (ip-sysctl.rst).
    private static void Harden(GuestLink guest)
    {
        string ipv4 = $"/proc/sys/net/ipv4/conf/{guest.Link}";
        File.WriteAllText($"{ipv4}/arp_ignore", "2");
        File.WriteAllText($"{ipv4}/rp_filter", "1");
        File.WriteAllText($"{ipv4}/accept_redirects", "0");
        File.WriteAllText($"{ipv4}/send_redirects", "0");
        string ipv6 = $"/proc/sys/net/ipv6/conf/{guest.Link}";
        if (guest.IPv6 is not null)
        {
            File.WriteAllText($"{ipv6}/accept_ra", "0");
            File.WriteAllText($"{ipv6}/accept_redirects", "0");
        }
        else if (Directory.Exists(ipv6))
        {
            File.WriteAllText($"{ipv6}/disable_ipv6", "1");
        }
    }
}
