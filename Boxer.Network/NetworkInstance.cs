using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using Boxer.Common;
using Boxer.Machine;

namespace Boxer.Network;

/// <summary>What one process has on this host for its sandboxes' networks: a table, addresses, forwarding. Made at the first sandbox.</summary>
internal sealed class NetworkInstance : IAsyncDisposable
{
    private const int Attempts = 3;
    private static readonly TimeSpan WatchInterval = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan CheckInterval = TimeSpan.FromSeconds(30);
    private readonly NetworkTools _tools;
    private readonly InstanceDirectory _instance;
    private readonly AddressPool _pool;
    private readonly IReadOnlyList<Forwarding> _forwarding;
    private readonly TimeProvider _time;
    private uint _last = (uint)Random.Shared.Next();
    private readonly SemaphoreSlim _checking = new(1, 1);
    private readonly ConcurrentDictionary<string, GuestLink> _links = new(StringComparer.Ordinal);
    private readonly CancellationTokenSource _disposing = new();
    private readonly Task _watching;
    private long _checked;

    private NetworkInstance(NetworkTools tools, InstanceDirectory instance, Firewall firewall, AddressPool pool, IReadOnlyList<Forwarding> forwarding, TimeProvider time)
    {
        _time = time;
        _checked = time.GetTimestamp();
        _tools = tools;
        _instance = instance;
        Firewall = firewall;
        _pool = pool;
        _forwarding = forwarding;
        _watching = WatchAsync(_disposing.Token);
    }

    /// <summary>Whether somebody took its table away: its links are down, and another instance is to be made for what comes.</summary>
    internal bool IsLost { get; private set; }

    internal Firewall Firewall { get; }

    /// <summary>Where instances share what they share.</summary>
    internal static string SharedDirectory => Path.Join(InstanceDirectory.DefaultBase(), "network");

    /// <summary>Makes it; what was made is given back when a step fails.</summary>
    internal static async Task<NetworkInstance> CreateAsync(
        NetworkTools tools, IReadOnlyList<IPNetwork> blocks, IReadOnlyList<IPAddress> resolvers, bool ipv6, TimeProvider time, CancellationToken cancellationToken)
    {
        var cleanup = new CleanupStack();
        try
        {
            InstanceDirectory instance = cleanup.Push(InstanceDirectory.Create(InstanceDirectory.DefaultBase()));
            var pool = cleanup.Push(new AddressPool(Path.Join(SharedDirectory, "addresses"), blocks, token => HostNetworks.FindAsync(tools, token), time));
            var firewall = new Firewall(tools, instance.Id, ipv6 ? UniqueLocal.PrefixOf(instance.Id) : null);
            cleanup.Push(new Undo(() => Firewall.DeleteTableAsync(tools, firewall.Table, CancellationToken.None)));
            await firewall.CreateAsync(resolvers, cancellationToken).ConfigureAwait(false);
            List<Forwarding> forwarding = [];
            foreach (string family in ipv6 ? (string[])[Forwarding.IPv4, Forwarding.IPv6] : [Forwarding.IPv4])
            {
                forwarding.Add(cleanup.Push(await Forwarding.EnableAsync(family, tools, SharedDirectory, time, cancellationToken).ConfigureAwait(false)));
            }

            cleanup.Push(new Undo(() => ForeignFirewalls.RemoveAsync(tools, id => id == instance.Id)));
            await ForeignFirewalls.LetThroughAsync(tools, instance.Id, ipv6, cancellationToken).ConfigureAwait(false);
            return new NetworkInstance(tools, instance, firewall, pool, forwarding, time);
        }
        catch
        {
            await cleanup.AbandonAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Takes away links, namespaces, tables and forwarding of instances that are dead.</summary>
    internal static async Task ReconcileAsync(NetworkTools tools, TimeProvider time, CancellationToken cancellationToken)
    {
        await RemoveAsync(tools, IsDead, cancellationToken).ConfigureAwait(false);
        string[] tables = [.. (await FindTablesAsync(tools, cancellationToken).ConfigureAwait(false))
            .Where(id => !InstanceDirectory.IsAlive(InstanceDirectory.DefaultBase(), id))];
        foreach (string id in tables)
        {
            await Firewall.DeleteTableAsync(tools, Firewall.TableOf(id), cancellationToken).ConfigureAwait(false);
        }

        await ForeignFirewalls.RemoveAsync(tools, id => !InstanceDirectory.IsAlive(InstanceDirectory.DefaultBase(), id)).ConfigureAwait(false);
        await Forwarding.ReconcileAsync(Forwarding.IPv4, tools, SharedDirectory, time).ConfigureAwait(false);
        await Forwarding.ReconcileAsync(Forwarding.IPv6, tools, SharedDirectory, time).ConfigureAwait(false);
    }

    /// <summary>Makes the veth pair of a sandbox; nothing passes it before <see cref="Firewall"/> has rules for it.</summary>
    internal async Task<GuestLink> AddLinkAsync(CancellationToken cancellationToken)
    {
        await CheckForeignAsync(cancellationToken).ConfigureAwait(false);
        AddressPair addresses = await _pool.TakeAsync(part => Firewall.AddPoolAsync(part, cancellationToken), cancellationToken).ConfigureAwait(false);
        uint number;
        do
        {
            // They come round, and one that waits or runs for a day may have its own still.
            number = Interlocked.Increment(ref _last);
        }
        while (_links.ContainsKey(LinkNames.Link(_instance.Id, number)));

        var link = new GuestLink(
            (number & 0xFFFFF).ToString("x5", CultureInfo.InvariantCulture),
            LinkNames.Link(_instance.Id, number),
            LinkNames.Namespace(_instance.Id, number),
            addresses,
            Firewall.IPv6 is { } prefix ? UniqueLocal.PairOf(prefix, number) : null,
            Zone: 1 + (int)(number % 65_534),
            Mark: number | 1u << 31);
        try
        {
            (string ours, string theirs) = link.Lines(kernelHasIPv6: Directory.Exists("/proc/sys/net/ipv6"));
            await _tools.IpAsync(null, ours, cancellationToken).ConfigureAwait(false);
            await _tools.IpAsync(link.Namespace, theirs, cancellationToken).ConfigureAwait(false);
            Harden(link);
            _links[link.Link] = link;
            return link;
        }
        catch
        {
            var cleanup = new CleanupStack();
            cleanup.Push(new Undo(() => RemoveLinkAsync(link, wasOpen: false)));
            await cleanup.AbandonAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Whether a link is still there, and held by the rules that it was made under.</summary>
    internal bool IsUsable(GuestLink link) => !IsLost && Directory.Exists($"/sys/class/net/{link.Link}");

    /// <summary>Takes a link away. Its addresses are not used again where that fails, and rest where something may have passed it.</summary>
    internal async Task RemoveLinkAsync(GuestLink link, bool wasOpen)
    {
        await RemoveAsync(_tools, name => name == link.Link || name == link.Namespace, CancellationToken.None).ConfigureAwait(false);
        _links.TryRemove(link.Link, out _);
        await _pool.GiveBackAsync(link.Addresses, wasOpen).ConfigureAwait(false);
    }

    /// <summary>Holds a bandwidth in both directions, by delay (tc-tbf(8)).</summary>
    internal async Task ShapeAsync(GuestLink link, long bitsPerSecond, CancellationToken cancellationToken)
    {
        // Room for one segment of the largest size that a stack hands over at once, else for a twentieth of a second.
        long burst = Math.Max(70_000, bitsPerSecond / 8 / 20);
        string Line(string device) => FormattableString.Invariant($"qdisc add dev {device} root tbf rate {bitsPerSecond}bit burst {burst} latency 200ms\n");
        await Task.WhenAll(
            _tools.TcAsync(null, Line(link.Link), cancellationToken),
            _tools.TcAsync(link.Namespace, Line(GuestLink.Inner), cancellationToken)).ConfigureAwait(false);
    }

    /// <summary>Bytes that came into the sandbox, and that went out of it, as its link counts them.</summary>
    internal static (long In, long Out) ReadUsage(GuestLink link)
    {
        // Ours is the other end: what it sends comes in.
        return (Read("tx_bytes"), Read("rx_bytes"));

        long Read(string file) => long.Parse(File.ReadAllText($"/sys/class/net/{link.Link}/statistics/{file}"), CultureInfo.InvariantCulture);
    }

    public async ValueTask DisposeAsync()
    {
        await _disposing.CancelAsync().ConfigureAwait(false);
        await _watching.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _disposing.Dispose();
        var cleanup = new CleanupStack();
        cleanup.Push(_instance);
        cleanup.Push(Firewall);
        cleanup.Push(_checking);
        cleanup.Push(_pool);
        foreach (Forwarding forwarding in _forwarding)
        {
            cleanup.Push(forwarding);
        }

        cleanup.Push(new Undo(() => Firewall.DeleteTableAsync(_tools, Firewall.Table, CancellationToken.None)));
        cleanup.Push(new Undo(() => ForeignFirewalls.RemoveAsync(_tools, id => id == _instance.Id)));

        // What could not be removed when its sandbox went.
        cleanup.Push(new Undo(() => RemoveAsync(_tools, name => LinkNames.InstanceOf(name) == _instance.Id, CancellationToken.None)));
        await cleanup.DisposeAsync().ConfigureAwait(false);
    }

    // Links and namespaces by their names.
    private static async Task RemoveAsync(NetworkTools tools, Func<string, bool> isToGo, CancellationToken cancellationToken)
    {
        for (int attempt = 1; Lines("/sys/class/net", "link") + Lines("/run/netns", "netns") is { Length: > 0 } batch; attempt++)
        {
            try
            {
                await tools.IpAsync(null, batch, cancellationToken).ConfigureAwait(false);
            }
            catch (SandboxRuntimeException) when (attempt < Attempts)
            {
                // Another instance that starts removes what the dead have left as well.
            }
        }

        string Lines(string directory, string kind) => !Directory.Exists(directory) ? "" : string.Concat(
            Directory.GetFileSystemEntries(directory).Select(path => Path.GetFileName(path)).Where(isToGo).Select(name => $"{kind} delete {name}\n"));
    }

    private static bool IsDead(string name) =>
        LinkNames.InstanceOf(name) is { } id && !InstanceDirectory.IsAlive(InstanceDirectory.DefaultBase(), id);

    private static async Task<IEnumerable<string>> FindTablesAsync(NetworkTools tools, CancellationToken cancellationToken)
    {
        const string Prefix = "boxer_";
        string printed = await tools.NftJsonAsync(["list", "tables", "inet"], cancellationToken).ConfigureAwait(false);
        return NetworkTools.Understand("nft", Read);

        string[] Read()
        {
            using var document = System.Text.Json.JsonDocument.Parse(printed);
            return [.. NetworkTools.NftItems(document, "table")
                .Select(table => table.GetProperty("name").GetString() ?? "")
                .Where(name => name.StartsWith(Prefix, StringComparison.Ordinal) && LinkNames.IsId(name[Prefix.Length..]))
                .Select(name => name[Prefix.Length..])];
        }
    }

    // Whoever flushes the whole ruleset ("nft flush ruleset", a restart of nftables.service) takes our table with it, and nothing would hold
    // the sandboxes any more: then they lose their links.
    private async Task WatchAsync(CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(WatchInterval, _time);
        try
        {
            while (await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false))
            {
                if (_links.IsEmpty)
                {
                    continue;
                }

                await LookAsync(cancellationToken).ConfigureAwait(false);
                try
                {
                    // When it is due here, the run that takes a sandbox which waits need not.
                    await CheckForeignAsync(cancellationToken).ConfigureAwait(false);
                }
                catch (Exception exception) when (exception is not OperationCanceledException)
                {
                    // It stays due: the next run says what is wrong. Whatever failed, the watch goes on.
                }
            }
        }
        catch (OperationCanceledException)
        {
            // Disposed.
        }
    }

    /// <summary>Looks whether its table is still there; if not, it is lost, and its links are cut.</summary>
    internal async Task LookAsync(CancellationToken cancellationToken)
    {
        try
        {
            if (!IsLost && (await FindTablesAsync(_tools, cancellationToken).ConfigureAwait(false)).Contains(_instance.Id, StringComparer.Ordinal))
            {
                return;
            }

            IsLost = true;
            foreach (Forwarding forwarding in _forwarding)
            {
                await forwarding.GuardAsync(cancellationToken).ConfigureAwait(false);
            }

            await _tools.IpAsync(null, string.Concat(_links.Keys.Select(link => $"link set {link} down\n")), cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            // Not known this time, or a link that went meanwhile: the next look tells.
        }
    }

    /// <summary>Sees to it that other firewalls let the links through: one that starts or restarts takes our rules out of its chains.</summary>
    internal async Task CheckForeignAsync(CancellationToken cancellationToken)
    {
        if (!IsDue())
        {
            return;
        }

        // One at a time; while it fails, no sandbox goes on without it.
        await _checking.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (IsDue())
            {
                await ForeignFirewalls.LetThroughAsync(_tools, _instance.Id, Firewall.IPv6 is not null, cancellationToken).ConfigureAwait(false);
                Interlocked.Exchange(ref _checked, _time.GetTimestamp());
            }
        }
        finally
        {
            _checking.Release();
        }

        bool IsDue() => _time.GetElapsedTime(Interlocked.Read(ref _checked)) >= CheckInterval;
    }

    // Nothing is learned or answered on a link beyond its own two addresses (kernel's Documentation/networking/ip-sysctl.rst).
    private static void Harden(GuestLink guest)
    {
        string link = guest.Link;
        File.WriteAllText($"/proc/sys/net/ipv4/conf/{link}/arp_ignore", "2");
        File.WriteAllText($"/proc/sys/net/ipv4/conf/{link}/rp_filter", "1");
        File.WriteAllText($"/proc/sys/net/ipv4/conf/{link}/accept_redirects", "0");
        File.WriteAllText($"/proc/sys/net/ipv4/conf/{link}/send_redirects", "0");
        string ipv6 = $"/proc/sys/net/ipv6/conf/{link}";
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

    private sealed class Undo(Func<Task> action) : IAsyncDisposable
    {
        public async ValueTask DisposeAsync() => await action().ConfigureAwait(false);
    }
}
