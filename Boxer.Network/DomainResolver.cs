using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Net;
using Boxer.Common;
using Boxer.Networking;

namespace Boxer.Network;

/// <summary>
/// The resolver of one sandbox with an allow-list, on the host's end of its link, where the firewall redirects all that it sends to port
/// 53. It answers allowed names only, and opens their addresses before it does. Other names, types and addresses that are not public
/// are refused: DNS is no way out, and an allowed name no way in (rebinding). Answers are kept for this sandbox alone.
/// </summary>
internal sealed class DomainResolver : IAsyncDisposable
{
    private const int MostNames = 1_000;
    private const int MostNameLength = 150;
    private const int MostRecords = 64;
    private const int MostAddresses = 4_096;
    private const ushort FirstMetaType = 128;
    private const ushort LastMetaType = 255;
    private const int DnsPort = 53;

    // Each opening starts an nft process: a burst of 20, then one every 200 ms.
    private const int MostOpeningsAtOnce = 20;
    private static readonly TimeSpan BetweenOpenings = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan LeastValidity = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan MostValidity = TimeSpan.FromHours(1);
    private static readonly TimeSpan FailureValidity = TimeSpan.FromSeconds(5);

    // An answer from the cache may be as good as expired: its addresses stay open for this long at least.
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(30);
    private readonly GuestLink _link;
    private readonly NetworkPolicy _policy;
    private readonly Firewall _firewall;
    private readonly TimeProvider _time;
    private readonly UpstreamResolver _upstream;
    private readonly DnsListener _listener;
    private readonly ConcurrentDictionary<string, long> _denied = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, string> _names = new(StringComparer.Ordinal);
    private readonly CancellationTokenSource _disposing = new();

    // Both under the lock of the first.
    private readonly Dictionary<(string Name, DnsType Type), Task<KeptAnswer>> _answers = [];
    private readonly HashSet<string> _asked = new(StringComparer.Ordinal);

    // Until when an address is open in a set of the firewall, and what is to be opened next; both under the lock of the first.
    private readonly Dictionary<(string Set, IPAddress Address), TimeSpan> _open = [];
    private Opening? _next;
    private readonly SemaphoreSlim _opening = new(1, 1);
    private readonly long _began;
    private TimeSpan _paced;

    internal DomainResolver(GuestLink link, NetworkPolicy policy, IEnumerable<IPAddress> upstream, Firewall firewall, TimeProvider time)
    {
        _link = link;
        _policy = policy;
        _firewall = firewall;
        _time = time;
        _began = time.GetTimestamp();
        _upstream = new UpstreamResolver(
            [.. upstream.Select(address => new IPEndPoint(address, DnsPort))], policy.QuotaBytes is null ? null : link.Mark, time);
        _listener = new DnsListener(link.IPv6 is null ? [link.Addresses] : [link.Addresses, link.IPv6], AnswerAsync, time);
    }

    /// <summary>Where it listens.</summary>
    internal int Port => _listener.Port;

    /// <summary>The names that were refused.</summary>
    internal IEnumerable<NetworkDenial> Denied => _denied.Select(pair => new NetworkDenial(null, pair.Key, DnsPort, "dns", pair.Value));

    private TimeSpan Now => _time.GetElapsedTime(_began);

    /// <summary>A denial with the name that its address was resolved from, where that is known.</summary>
    internal NetworkDenial NameOf(NetworkDenial denial) =>
        denial.Address is not null && _names.TryGetValue(denial.Address, out string? name) ? denial with { Domain = name } : denial;

    public async ValueTask DisposeAsync()
    {
        await _disposing.CancelAsync().ConfigureAwait(false);
        await _listener.DisposeAsync().ConfigureAwait(false);
        _upstream.Dispose();
        _opening.Dispose();
        _disposing.Dispose();
    }

    private async Task<DnsReply> AnswerAsync(DnsQuery query)
    {
        if (query.Class != DnsMessage.Internet)
        {
            return new DnsReply(DnsCode.Refused);
        }

        // Transfers of zones, "any" and the like.
        if ((ushort)query.Type is >= FirstMetaType and <= LastMetaType)
        {
            return new DnsReply(DnsCode.NotImplemented);
        }

        if (!IsHostName(query.Name) || !_policy.AllowsName(query.Name))
        {
            return Deny(query.Name);
        }

        if (query.Type != DnsType.A && (query.Type != DnsType.Aaaa || _link.IPv6 is null))
        {
            return new DnsReply(DnsCode.NoError);
        }

        if (!TryFindAnswer(query.Name, query.Type, out Task<KeptAnswer>? finding))
        {
            return Deny(query.Name);
        }

        KeptAnswer answer = await finding.ConfigureAwait(false);
        return new DnsReply(answer.Code, answer.Addresses, (uint)Math.Max(1, (answer.Until - Now).TotalSeconds));
    }

    private DnsReply Deny(string name)
    {
        string key = name.Length > MostNameLength ? name[..MostNameLength] : name;
        if (_denied.Count < NetworkReport.MaxDenied || _denied.ContainsKey(key))
        {
            _denied.AddOrUpdate(key, 1, (_, count) => count + 1);
        }

        return new DnsReply(DnsCode.NameError);
    }

    private static bool IsHostName(string name) => name.Length is > 0 and <= MostNameLength && !name.Contains('\\', StringComparison.Ordinal);

    // Concurrent and later questions share one query until its answer expires. Beyond MostNames no query is sent, because each name can carry
    // data out.
    private bool TryFindAnswer(string name, DnsType type, [NotNullWhen(true)] out Task<KeptAnswer>? answer)
    {
        lock (_answers)
        {
            if (_answers.TryGetValue((name, type), out answer) && (!answer.IsCompleted || (answer.IsCompletedSuccessfully && answer.Result.Until > Now)))
            {
                return true;
            }

            if (!_asked.Contains(name) && (_asked.Count == MostNames || !_asked.Add(name)))
            {
                return false;
            }

            answer = _answers[(name, type)] = ResolveAsync(name, type);
            return true;
        }
    }

    private async Task<KeptAnswer> ResolveAsync(string name, DnsType type)
    {
        // Out of the caller's lock.
        await Task.Yield();
        try
        {
            if (await _upstream.AskAsync(name, type, _disposing.Token).ConfigureAwait(false) is not { } answer)
            {
                return Failure();
            }

            IPAddress[] addresses = [.. answer.Addresses.Distinct().Where(address => !SpecialRanges.IsClosedToGuests(address) || OpensPrivate(address)).Take(MostRecords)];
            if (addresses.Length == 0)
            {
                return new KeptAnswer(answer.Code, [], Now + LeastValidity);
            }

            TimeSpan until = Now + TimeSpan.FromSeconds(Math.Clamp(answer.Seconds, LeastValidity.TotalSeconds, MostValidity.TotalSeconds));
            await OpenAsync(name, addresses, until).ConfigureAwait(false);
            foreach (IPAddress address in addresses)
            {
                if (_names.Count < MostAddresses)
                {
                    _names[address.ToString()] = name;
                }
            }

            return new KeptAnswer(DnsCode.NoError, addresses, until);
        }
        catch (Exception exception) when (exception is SandboxException or IOException or OperationCanceledException)
        {
            // Fail closed: what was not opened is not told.
            return Failure();
        }

        KeptAnswer Failure() => new(DnsCode.ServerFailure, [], Now + FailureValidity);
    }

    // Private addresses are answered only where the operator's rules open them. The firewall limits them by range.
    private bool OpensPrivate(IPAddress address) =>
        _policy.Layers.Any(layer => layer.PrivateRules.Any(rule => rule.Range!.Value.Contains(address)));

    // Opens addresses that are not open for as long. Those that are to be opened while another opening runs are opened together.
    private async Task OpenAsync(string name, IPAddress[] addresses, TimeSpan until)
    {
        Opening opening;
        lock (_open)
        {
            (string Set, IPAddress Address)[] due =
            [
                .. Firewall.SetsOf(_link, _policy, name, addresses[0].AddressFamily)
                    .SelectMany(set => addresses.Select(address => (set, address)))
                    .Where(key => !_open.TryGetValue(key, out TimeSpan open) || open < until + Grace),
            ];
            if (due.Length == 0)
            {
                return;
            }

            opening = _next ??= new Opening();
            foreach ((string Set, IPAddress Address) key in due)
            {
                opening.Until[key] = opening.Until.TryGetValue(key, out TimeSpan other) && other > until ? other : until;
            }
        }

        await _opening.WaitAsync(_disposing.Token).ConfigureAwait(false);
        try
        {
            await (opening.Done ??= RunAsync(opening)).ConfigureAwait(false);
        }
        finally
        {
            _opening.Release();
        }
    }

    private async Task RunAsync(Opening opening)
    {
        TimeSpan early = _paced - (BetweenOpenings * MostOpeningsAtOnce) - Now;
        if (early > TimeSpan.Zero)
        {
            await Task.Delay(early, _time, _disposing.Token).ConfigureAwait(false);
        }

        TimeSpan now = Now;
        _paced = (_paced > now ? _paced : now) + BetweenOpenings;
        KeyValuePair<(string Set, IPAddress Address), TimeSpan>[] opened;
        lock (_open)
        {
            // Nothing joins it any more.
            _next = null;

            // Longer than it is due, so that names that share an address do not open it each, and never shorter than it is open: the
            // opening before may have been on its way when this one was asked for.
            opened = [.. opening.Until.Select(pair => KeyValuePair.Create(
                pair.Key, _open.TryGetValue(pair.Key, out TimeSpan open) && open > pair.Value + Grace + Grace ? open : pair.Value + Grace + Grace))];
        }

        await _firewall.OpenAsync([.. opened.Select(pair => (pair.Key.Set, pair.Key.Address, pair.Value - now))], _disposing.Token).ConfigureAwait(false);
        lock (_open)
        {
            foreach ((string Set, IPAddress Address) expired in _open.Where(pair => pair.Value <= now).Select(pair => pair.Key).ToArray())
            {
                _open.Remove(expired);
            }

            foreach (KeyValuePair<(string Set, IPAddress Address), TimeSpan> pair in opened)
            {
                _open[pair.Key] = pair.Value;
            }
        }
    }

    /// <summary>What an upstream resolver answered, without what is not public.</summary>
    private sealed record KeptAnswer(DnsCode Code, IReadOnlyList<IPAddress> Addresses, TimeSpan Until);

    /// <summary>Addresses that one transaction opens, with the end of the answers that they are in.</summary>
    private sealed class Opening
    {
        internal Dictionary<(string Set, IPAddress Address), TimeSpan> Until { get; } = [];

        internal Task? Done { get; set; }
    }
}
