using System.Net;
using Boxer.Network.Firewalls;
using Boxer.Network.Links;
using Boxer.Networking;

namespace Boxer.Network.Dns;

/// <summary>
/// Opens the addresses of allowed domains of one sandbox in the firewall. Each change of the firewall runs an nft process, so changes are batched
/// and rate-limited.
/// </summary>
internal sealed class DomainOpenings : IDisposable
{
    // A burst of 20 batches, then one every 200 ms.
    private const int MaxBurst = 20;
    private static readonly TimeSpan BatchInterval = TimeSpan.FromMilliseconds(200);

    // A cached answer may be about to expire when it is used: its addresses stay open for at least this long after it.
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(30);
    private readonly GuestLink _link;
    private readonly NetworkPolicy _policy;
    private readonly Firewall _firewall;
    private readonly TimeProvider _time;
    private readonly long _start;

    // When each open address closes, and the batch that further addresses join. The lock of _open protects both.
    private readonly Dictionary<(string Set, IPAddress Address), TimeSpan> _open = [];
    private Batch? _nextBatch;
    private readonly SemaphoreSlim _gate = new(1, 1);
    private TimeSpan _paced;

    /// <param name="link">The link of the sandbox.</param>
    /// <param name="policy">The policy.</param>
    /// <param name="firewall">The firewall.</param>
    /// <param name="time">The clock.</param>
    internal DomainOpenings(GuestLink link, NetworkPolicy policy, Firewall firewall, TimeProvider time)
    {
        _link = link;
        _policy = policy;
        _firewall = firewall;
        _time = time;
        _start = time.GetTimestamp();
    }

    private TimeSpan Now => _time.GetElapsedTime(_start);

    /// <summary>Opens addresses unless they are open for long enough. Addresses that are requested while a batch runs form the next batch.</summary>
    /// <param name="name">The domain that resolved to the addresses.</param>
    /// <param name="addresses">The addresses, all of one family; at least one.</param>
    /// <param name="validity">How long the answer with the addresses is valid from now.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    internal async Task OpenAsync(string name, IPAddress[] addresses, TimeSpan validity, CancellationToken cancellationToken)
    {
        if (Join(name, addresses, Now + validity) is not { } batch)
        {
            return;
        }

        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await (batch.Running ??= RunAsync(batch, cancellationToken)).ConfigureAwait(false);
        }
        finally
        {
            _gate.Release();
        }
    }

    public void Dispose() => _gate.Dispose();

    // Null if all addresses are open for long enough.
    private Batch? Join(string name, IPAddress[] addresses, TimeSpan expiresAt)
    {
        lock (_open)
        {
            (string Set, IPAddress Address)[] due =
            [
                .. DomainSet.NamesFor(_link, _policy, name, addresses[0].AddressFamily)
                    .SelectMany(set => addresses.Select(address => (set, address)))
                    .Where(key => !_open.TryGetValue(key, out TimeSpan closesAt) || closesAt < expiresAt + Grace),
            ];
            if (due.Length == 0)
            {
                return null;
            }

            Batch batch = _nextBatch ??= new Batch();
            foreach ((string Set, IPAddress Address) key in due)
            {
                batch.ExpiresAt[key] = batch.ExpiresAt.TryGetValue(key, out TimeSpan other) && other > expiresAt ? other : expiresAt;
            }

            return batch;
        }
    }

    private async Task RunAsync(Batch batch, CancellationToken cancellationToken)
    {
        TimeSpan early = _paced - (BatchInterval * MaxBurst) - Now;
        if (early > TimeSpan.Zero)
        {
            await Task.Delay(early, _time, cancellationToken).ConfigureAwait(false);
        }

        TimeSpan now = Now;
        _paced = (_paced > now ? _paced : now) + BatchInterval;
        KeyValuePair<(string Set, IPAddress Address), TimeSpan>[] openings = Close(batch);
        await _firewall.OpenAsync([.. openings.Select(pair => (pair.Key.Set, pair.Key.Address, pair.Value - now))], cancellationToken).ConfigureAwait(false);
        lock (_open)
        {
            foreach ((string Set, IPAddress Address) expired in _open.Where(pair => pair.Value <= now).Select(pair => pair.Key).ToArray())
            {
                _open.Remove(expired);
            }

            foreach (KeyValuePair<(string Set, IPAddress Address), TimeSpan> pair in openings)
            {
                _open[pair.Key] = pair.Value;
            }
        }
    }

    // Closes the batch for further addresses. Returns when each of its addresses closes: later than necessary, so that names that share an address
    // need no batch each, and never earlier than before, because the previous batch may have been running when this one was requested.
    private KeyValuePair<(string Set, IPAddress Address), TimeSpan>[] Close(Batch batch)
    {
        lock (_open)
        {
            _nextBatch = null;
            return [.. batch.ExpiresAt.Select(pair => KeyValuePair.Create(
                pair.Key, _open.TryGetValue(pair.Key, out TimeSpan closesAt) && closesAt > pair.Value + Grace + Grace ? closesAt : pair.Value + Grace + Grace))];
        }
    }

    /// <summary>Addresses that one nft transaction opens, with the expiry of the answers that have them.</summary>
    private sealed class Batch
    {
        internal Dictionary<(string Set, IPAddress Address), TimeSpan> ExpiresAt { get; } = [];

        internal Task? Running { get; set; }
    }
}
