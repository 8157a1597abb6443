using Boxer.Admission;
using Boxer.Common;
using Boxer.Diagnostics;
using Microsoft.Extensions.Logging;

namespace Boxer.Pool;

/// <summary>
/// Evicts pooled sandboxes: those that are dead, too old, unused or surplus, and those whose memory or network a run needs. Evicting destroys a
/// sandbox in the background and then releases its memory. Methods are called under the lock of <see cref="SandboxPool{T}"/>.
/// </summary>
/// <typeparam name="T">Type of the sandboxes.</typeparam>
internal sealed class PoolEvictor<T>
    where T : class, IPooledSandbox
{
    // Sandboxes beyond the target stay this long for the next burst.
    private static readonly TimeSpan SurplusTimeout = TimeSpan.FromSeconds(30);
    private readonly PoolEntries<T> _entries;
    private readonly TimeSpan _maxAge;
    private readonly ResourceLedger _ledger;
    private readonly ILogger _logger;
    private readonly BackgroundTasks _evictions = new();

    /// <summary>Creates an evictor.</summary>
    /// <param name="entries">The entries of the pool.</param>
    /// <param name="maxAge">Maximum age of a pooled sandbox.</param>
    /// <param name="ledger">The promises of memory.</param>
    /// <param name="logger">Receives failures.</param>
    internal PoolEvictor(PoolEntries<T> entries, TimeSpan maxAge, ResourceLedger ledger, ILogger logger)
    {
        _entries = entries;
        _maxAge = maxAge;
        _ledger = ledger;
        _logger = logger;
    }

    /// <summary>Evicts sandboxes that are dead, too old, idle or surplus, and forgets unused entries.</summary>
    internal void EvictExpired(TimeSpan now)
    {
        foreach (PoolEntry<T> entry in _entries.All)
        {
            EvictExpired(entry, now);
            if (now - entry.Demand.LastTaken > SurplusTimeout)
            {
                Evict(entry, entry.Ready.Count - entry.Target(now));
            }
        }

        _entries.RemoveUnused(now);
    }

    /// <summary>Evicts as many sandboxes as have the memory that a waiting run is short of, of the least recently used entries first.</summary>
    internal void EvictForMemory()
    {
        while (_ledger.ShortBytes > 0 && PoolEntries<T>.FindLeastRecentlyUsed(_entries.All) is { } entry)
        {
            Evict(entry, 1);
        }
    }

    /// <summary>Evicts all sandboxes.</summary>
    internal void EvictAll()
    {
        foreach (PoolEntry<T> entry in _entries.All)
        {
            Evict(entry, entry.Ready.Count);
        }
    }

    /// <summary>Evicts the oldest sandboxes of an entry.</summary>
    /// <param name="entry">The entry.</param>
    /// <param name="count">Maximum number to evict; less than 1 for none.</param>
    internal void Evict(PoolEntry<T> entry, int count)
    {
        for (; count > 0 && entry.Ready.TryDequeue(out ReadySandbox<T> ready); count--)
        {
            _ = Evict(ready);
        }
    }

    /// <summary>Evicts a sandbox that no entry has any more.</summary>
    /// <returns>A task that completes when the sandbox is destroyed and its memory is released.</returns>
    internal Task Evict(ReadySandbox<T> ready)
    {
        ready.Memory.BeginEviction();
        return _evictions.RunAsync(() => EvictAsync(ready));
    }

    /// <summary>Destroys a sandbox, or what a failed boot left of it, and then releases its memory. A failure is logged. Needs no lock.</summary>
    internal async Task EvictAsync(IAsyncDisposable sandbox, ResourceLedger.PoolReservation memory)
    {
        try
        {
            await sandbox.DisposeAsync().ConfigureAwait(false);
        }
        catch (Exception fault)
        {
            Log.PoolCleanupFailed(_logger, fault);
        }

        memory.Dispose();
    }

    /// <summary>Waits until all evicted sandboxes are destroyed. Needs no lock.</summary>
    internal Task WhenAllAsync() => _evictions.WhenAllAsync();

    private void EvictExpired(PoolEntry<T> entry, TimeSpan now)
    {
        bool isIdle = _entries.IsIdle(entry, now);
        bool hasOld = false;
        for (int i = entry.Ready.Count; i > 0; i--)
        {
            // At most one old sandbox each time, so that its replacement is ready before the next one.
            ReadySandbox<T> ready = entry.Ready.Dequeue();
            bool isOld = !hasOld && now - ready.Since > _maxAge;
            hasOld |= isOld;
            if ((isIdle && i > entry.Minimum) || isOld || !ready.IsAlive(_logger))
            {
                _ = Evict(ready);
            }
            else
            {
                entry.Ready.Enqueue(ready);
            }
        }
    }

    private async Task EvictAsync(ReadySandbox<T> ready)
    {
        // Yields, so that the caller's lock is not held meanwhile.
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        await EvictAsync(ready.Sandbox, ready.Memory).ConfigureAwait(false);
    }
}
