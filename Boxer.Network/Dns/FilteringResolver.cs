using System.Net;
using Boxer.Common;
using Boxer.Network.Firewalls;
using Boxer.Network.Links;
using Boxer.Networking;

namespace Boxer.Network.Dns;

/// <summary>
/// The DNS resolver of one sandbox whose policy filters names. It listens on the host's end of the link, and the firewall redirects to it all
/// packets of the sandbox to port 53.
/// </summary>
/// <remarks>
/// It answers allowed names only, and opens their addresses in the firewall before it answers. Other names and types are rejected, and
/// addresses that are not public are left out: a sandbox cannot send data out by DNS, and an allowed name cannot lead into a private network
/// (DNS rebinding). The cache serves this sandbox alone.
/// </remarks>
internal sealed class FilteringResolver : IAsyncDisposable
{
    private const int MaxNameLength = 150;
    private const int MaxAddressesPerName = 64;
    private const int MaxKnownAddresses = 4_096;
    private const int MaxDeniedNames = 1_000;
    private const int DnsPort = 53;

    // Types of queries that are no record types: transfers of zones, ANY and the like (RFC 6895).
    private const ushort FirstMetaType = 128;
    private const ushort LastMetaType = 255;
    private static readonly TimeSpan MinValidity = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan MaxValidity = TimeSpan.FromHours(1);
    private static readonly TimeSpan FailureValidity = TimeSpan.FromSeconds(5);

    // Sessions live for days: the bounds of a run hold for each hour of them. Without a list of allowed destinations, names are no way out that others
    // would not be, and only memory has to be bounded.
    private static readonly TimeSpan SessionPeriod = TimeSpan.FromHours(1);
    private readonly NetworkPolicy _policy;
    private readonly bool _hasIPv6;
    private readonly UpstreamResolver _upstream;
    private readonly DomainOpenings _openings;
    private readonly DnsServer _server;
    private readonly RecentMap<string, long> _deniedNames = new(MaxDeniedNames);
    private readonly RecentMap<string, string> _namesByAddress = new(MaxKnownAddresses);
    private readonly AnswerCache _cache;
    private readonly CancellationTokenSource _disposing = new();

    /// <param name="link">The link of the sandbox.</param>
    /// <param name="policy">The policy.</param>
    /// <param name="upstream">The DNS servers that resolve allowed names, in order.</param>
    /// <param name="firewall">The firewall to open addresses in.</param>
    /// <param name="time">The clock.</param>
    /// <exception cref="SandboxRuntimeException">No port is free on the host's end of the link.</exception>
    internal FilteringResolver(GuestLink link, NetworkPolicy policy, IEnumerable<IPAddress> upstream, Firewall firewall, TimeProvider time)
    {
        _policy = policy;
        _hasIPv6 = link.IPv6 is not null;
        bool hasAllowList = policy.Layers.Any(layer => layer.Allow is not null);
        _cache = new AnswerCache(policy.IsForSession ? hasAllowList ? SessionPeriod : MinValidity : null, time);
        _openings = new DomainOpenings(link, policy, firewall, time);
        _upstream = new UpstreamResolver(
            [.. upstream.Select(address => new IPEndPoint(address, DnsPort))],
            policy.QuotaBytes is null ? null : link.Mark,
            policy.IsForSession ? SessionPeriod : null,
            time);
        _server = new DnsServer(link.IPv6 is null ? [link.Addresses] : [link.Addresses, link.IPv6], AnswerAsync, time);
    }

    /// <summary>The port that the resolver listens on.</summary>
    internal int Port => _server.Port;

    /// <summary>The names that were denied; if there are too many, the last ones.</summary>
    internal IEnumerable<NetworkDenial> Denials => _deniedNames.ToArray().Select(pair => new NetworkDenial(null, pair.Key, DnsPort, "dns", pair.Value));

    /// <summary>Adds the name that the address of a denial was resolved from, if one is known.</summary>
    internal NetworkDenial AddName(NetworkDenial denial) =>
        denial.Address is not null && _namesByAddress.TryGetValue(denial.Address, out string? name) ? denial with { Domain = name } : denial;

    public async ValueTask DisposeAsync()
    {
        await _disposing.CancelAsync().ConfigureAwait(false);
        await _server.DisposeAsync().ConfigureAwait(false);
        _upstream.Dispose();
        _openings.Dispose();
        _disposing.Dispose();
    }

    private async Task<DnsResponse> AnswerAsync(DnsQuery query)
    {
        if (query.Class != DnsMessage.InternetClass)
        {
            return new DnsResponse(DnsCode.Refused);
        }

        if ((ushort)query.Type is >= FirstMetaType and <= LastMetaType)
        {
            return new DnsResponse(DnsCode.NotImplemented);
        }

        if (!IsHostName(query.Name) || !_policy.AllowsName(query.Name))
        {
            return Deny(query.Name);
        }

        if (query.Type != DnsType.A && (query.Type != DnsType.Aaaa || !_hasIPv6))
        {
            return new DnsResponse(DnsCode.NoError);
        }

        if (!_cache.TryFind(query.Name, query.Type, () => ResolveAsync(query.Name, query.Type), out Task<CachedAnswer>? finding))
        {
            return Deny(query.Name);
        }

        CachedAnswer answer = await finding.ConfigureAwait(false);
        return new DnsResponse(answer.Code, answer.Addresses, (uint)Math.Max(1, (answer.ExpiresAt - _cache.Now).TotalSeconds));
    }

    private DnsResponse Deny(string name)
    {
        string key = name.Length > MaxNameLength ? name[..MaxNameLength] : name;
        _deniedNames.AddOrUpdate(key, 1, count => count + 1);
        return new DnsResponse(DnsCode.NameError);
    }

    private static bool IsHostName(string name) => name.Length is > 0 and <= MaxNameLength && !name.Contains('\\', StringComparison.Ordinal);

    private async Task<CachedAnswer> ResolveAsync(string name, DnsType type)
    {
        // Leaves the lock of the cache.
        await Task.Yield();
        try
        {
            if (await _upstream.ResolveAsync(name, type, _disposing.Token).ConfigureAwait(false) is not { } answer)
            {
                return Failure();
            }

            IPAddress[] addresses = [.. answer.Addresses.Distinct().Where(IsAllowed).Take(MaxAddressesPerName)];
            if (addresses.Length == 0)
            {
                return new CachedAnswer(answer.Code, [], _cache.Now + MinValidity);
            }

            var validity = TimeSpan.FromSeconds(Math.Clamp(answer.Seconds, MinValidity.TotalSeconds, MaxValidity.TotalSeconds));
            TimeSpan expiresAt = _cache.Now + validity;
            await _openings.OpenAsync(name, addresses, validity, _disposing.Token).ConfigureAwait(false);
            Remember(name, addresses);
            return new CachedAnswer(DnsCode.NoError, addresses, expiresAt);
        }
        catch (Exception exception) when (exception is SandboxException or IOException or OperationCanceledException)
        {
            // The answer is withheld, because its addresses may not be open.
            return Failure();
        }

        CachedAnswer Failure() => new(DnsCode.ServerFailure, [], _cache.Now + FailureValidity);
    }

    private void Remember(string name, IPAddress[] addresses)
    {
        foreach (IPAddress address in addresses)
        {
            _namesByAddress.AddOrUpdate(address.ToString(), name, _ => name);
        }
    }

    // Private addresses are answered only if the operator's rules open them. The firewall limits them by range.
    private bool IsAllowed(IPAddress address) =>
        !SpecialAddressRanges.IsClosedToGuests(address) || _policy.Layers.Any(layer => layer.PrivateRules.Any(rule => rule.Range!.Value.Contains(address)));
}
