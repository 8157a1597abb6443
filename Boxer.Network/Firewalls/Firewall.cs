using System.Globalization;
using System.Net;
using System.Text;
using Boxer.Network.Links;
using Boxer.Network.Tools;
using Boxer.Networking;

namespace Boxer.Network.Firewalls;

/// <summary>
/// The nftables table of one instance (<see cref="FirewallTable"/>). It drops all traffic of a link until the rules of its sandbox
/// (<see cref="SandboxRules"/>) are installed. Each change is one nft transaction.
/// </summary>
internal sealed class Firewall : IDisposable
{
    private readonly NetworkTools _tools;
    private readonly string _instanceId;
    private readonly SemaphoreSlim _gate = new(1, 1);

    /// <param name="tools">Runs nft.</param>
    /// <param name="instanceId">The instance.</param>
    /// <param name="ipv6">The IPv6 range of the instance's sandboxes; <see langword="null"/>: they have no IPv6, and all of it is dropped.</param>
    internal Firewall(NetworkTools tools, string instanceId, IPNetwork? ipv6)
    {
        IPv6 = ipv6;
        _tools = tools;
        _instanceId = instanceId;
        Table = FirewallTable.NameOf(instanceId);
    }

    /// <summary>The IPv6 range of the instance's sandboxes; <see langword="null"/> if they have no IPv6.</summary>
    internal IPNetwork? IPv6 { get; }

    /// <summary>The family and the name of the table.</summary>
    internal string Table { get; }

    /// <summary>Creates the table, without rules for any sandbox.</summary>
    /// <param name="resolvers">The DNS servers that sandboxes without a resolver of their own may reach.</param>
    /// <param name="cancellationToken">Cancels the creation.</param>
    internal Task CreateAsync(IEnumerable<IPAddress> resolvers, CancellationToken cancellationToken) =>
        _tools.NftAsync(FirewallTable.CreationScript(_instanceId, IPv6, resolvers), cancellationToken);

    /// <summary>Masquerades packets from a range of sandbox addresses.</summary>
    internal Task AddAddressesAsync(IPNetwork range, CancellationToken cancellationToken) =>
        _tools.NftAsync($"add element {Table} pool {{ {range} }}\n", cancellationToken);

    /// <summary>Installs the rules of a sandbox.</summary>
    internal Task InstallAsync(SandboxRules rules, CancellationToken cancellationToken) => RunAsync(rules.InstallationScript(), cancellationToken);

    /// <summary>Removes the rules of a sandbox. The traffic of its link is dropped from then on.</summary>
    internal Task RemoveAsync(SandboxRules rules) => RunAsync(rules.RemovalScript(), CancellationToken.None);

    /// <summary>Opens addresses that allowed domains resolved to.</summary>
    /// <param name="openings">The set (<see cref="DomainSet"/>), the address, and how long it stays open from now.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    internal Task OpenAsync(IReadOnlyList<(string Set, IPAddress Address, TimeSpan Duration)> openings, CancellationToken cancellationToken)
    {
        var script = new StringBuilder();
        foreach (IGrouping<string, (string Set, IPAddress Address, TimeSpan Duration)> set in openings.GroupBy(opening => opening.Set))
        {
            string keys = string.Join(", ", set.Select(opening => opening.Address));
            string elements = string.Join(", ", set.Select(opening => string.Create(CultureInfo.InvariantCulture, $"{opening.Address} timeout {Math.Max(1, (long)opening.Duration.TotalSeconds)}s")));

            // Add, delete and add again: before Linux 6.12, adding an element that exists does not extend its timeout.
            script.AppendLine(CultureInfo.InvariantCulture, $"add element {Table} {set.Key} {{ {elements} }}");
            script.AppendLine(CultureInfo.InvariantCulture, $"delete element {Table} {set.Key} {{ {keys} }}");
            script.AppendLine(CultureInfo.InvariantCulture, $"add element {Table} {set.Key} {{ {elements} }}");
        }

        return RunAsync(script.ToString(), cancellationToken);
    }

    /// <summary>
    /// Adds the packets that a sandbox was denied since the last call to its totals. A set that is half full is emptied, so that it has room for
    /// further destinations; packets that are denied in this moment are not counted.
    /// </summary>
    /// <param name="guest">The link of the sandbox.</param>
    /// <param name="totals">The totals. No other call may use them meanwhile.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    internal async Task CountDenialsAsync(GuestLink guest, DenialTotals totals, CancellationToken cancellationToken)
    {
        List<(string Set, IReadOnlyList<NetworkDenial> Denials)> sets = [];
        foreach (string set in SandboxRules.DenialSets(guest))
        {
            string output = await _tools.NftJsonAsync(["list", "set", .. Table.Split(' '), set], cancellationToken).ConfigureAwait(false);
            sets.Add((set, ToolOutput.Parse("nft", () => DenialSet.Parse(output))));
        }

        totals.Add([.. sets.SelectMany(set => set.Denials)]);
        foreach ((string set, IReadOnlyList<NetworkDenial> denials) in sets.Where(set => set.Denials.Count > SandboxRules.MaxDenialSetEntries / 2))
        {
            // Only what was read: a destination that was added since is counted the next time.
            string keys = string.Join(", ", denials.Select(denial => string.Create(CultureInfo.InvariantCulture, $"{denial.Address} . {denial.Protocol} . {denial.Port}")));
            await RunAsync($"delete element {Table} {set} {{ {keys} }}\n", cancellationToken).ConfigureAwait(false);
            totals.OnRemoved(denials);
        }
    }

    /// <summary>Deletes a table if it exists.</summary>
    internal static Task DeleteTableAsync(NetworkTools tools, string table, CancellationToken cancellationToken) =>
        tools.NftAsync($"add table {table}\ndelete table {table}\n", cancellationToken);

    public void Dispose() => _gate.Dispose();

    // Serialized: each nft process reads the whole table before it changes it.
    private async Task RunAsync(string script, CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await _tools.NftAsync(script, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _gate.Release();
        }
    }
}
