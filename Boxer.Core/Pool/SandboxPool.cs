using Boxer.Admission;
using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Validation;
using Microsoft.Extensions.Logging;

namespace Boxer.Pool;

/// <summary>
/// Keeps booted sandboxes ready for images in use, sized by recent demand. Sandboxes of unused images expire. <see cref="PoolEntries{T}"/> counts
/// them, <see cref="PoolEvictor{T}"/> destroys them, and <see cref="PoolBooter{T}"/> boots them in the background.
/// </summary>
/// <typeparam name="T">Type of the sandboxes.</typeparam>
internal sealed class SandboxPool<T> : IAsyncDisposable
    where T : class, IPooledSandbox
{
    // Longer than a boot and the end of its sandbox take. A sandbox that waits in the kernel does not end, and a run must not wait for it with its slot.
    private static readonly TimeSpan EvictionPatience = TimeSpan.FromMinutes(1);

    // Guards the entries, their sandboxes, and the state of the evictor and the booter.
    private readonly Lock _lock = new();
    private readonly PoolClock _clock;
    private readonly PoolEntries<T> _entries;
    private readonly PoolEvictor<T> _evictor;
    private readonly PoolBooter<T> _booter;
    private readonly ResourceLedger _ledger;
    private readonly PoolMetrics _metrics;
    private readonly ILogger _logger;

    /// <summary>Starts an empty pool.</summary>
    /// <param name="options">The options of the pool.</param>
    /// <param name="images">The images of the options, parsed.</param>
    /// <param name="isBusy">Whether runs need the processors; see <see cref="PoolBooter{T}"/>.</param>
    /// <param name="ledger">The promises of memory. The pool evicts sandboxes if a run is short of memory.</param>
    /// <param name="bootBytes">Maximum memory of a sandbox until it is ready, in bytes.</param>
    /// <param name="metrics">Receives counts and durations.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">Receives failures.</param>
    internal SandboxPool(
        PoolOptions options, IEnumerable<PoolImage> images, Func<bool, bool> isBusy, ResourceLedger ledger, long bootBytes, PoolMetrics metrics, TimeProvider time, ILogger logger)
    {
        _metrics = metrics;
        _logger = logger;
        _clock = new PoolClock(time);
        _entries = new PoolEntries<T>(options, images);
        _evictor = new PoolEvictor<T>(_entries, options.MaxAge, ledger, logger);
        _booter = new PoolBooter<T>(_entries, _evictor, _lock, isBusy, ledger, bootBytes, metrics, _clock, logger);
        _metrics.Observe(() => Count);
        _ledger = ledger;
        _ledger.MemoryShort += EvictForMemory;
    }

    /// <summary>Number of sandboxes that are ready.</summary>
    internal int Count
    {
        get
        {
            lock (_lock)
            {
                return _entries.ReadyCount;
            }
        }
    }

    /// <summary>Takes a sandbox for a run and triggers the boot of another one.</summary>
    /// <param name="key">The key of the sandbox.</param>
    /// <param name="reference">Reference of the image. Sandboxes of an image that had this reference before are evicted.</param>
    /// <param name="boot">Boots a sandbox with this key.</param>
    /// <param name="limitBytes">The memory limit of the run, in bytes.</param>
    /// <returns>A thawed sandbox that the caller must dispose; <see langword="null"/> if none is ready.</returns>
    internal T? Take(PoolKey key, string reference, Func<CleanupStack, CancellationToken, Task<T>> boot, long limitBytes = long.MaxValue)
    {
        T? taken = null;
        lock (_lock)
        {
            if (_booter.IsStopped)
            {
                return null;
            }

            PoolEntry<T> entry = GetOrAdd(key, reference, boot);
            entry.Demand.AddRun(_clock.Now);
            while (taken is null && entry.Ready.TryPeek(out ReadySandbox<T> ready) && ready.FitsIn(limitBytes))
            {
                entry.Ready.Dequeue();
                if (ready.TryThaw(_logger))
                {
                    taken = ready.Sandbox;
                    _metrics.Age(_clock.Now - ready.Since);

                    // The promise of the run covers it from now on.
                    ready.Memory.Dispose();
                }
                else
                {
                    _ = _evictor.Evict(ready);
                }
            }
        }

        _metrics.Taken(taken is not null);
        TriggerRefill();
        return taken;
    }

    /// <summary>Boots the minimum number of sandboxes of an image before its first run.</summary>
    /// <param name="key">The key of the sandboxes.</param>
    /// <param name="reference">Reference of the image.</param>
    /// <param name="boot">Boots a sandbox with this key.</param>
    internal void Fill(PoolKey key, string reference, Func<CleanupStack, CancellationToken, Task<T>> boot)
    {
        lock (_lock)
        {
            if (!_booter.IsStopped)
            {
                GetOrAdd(key, reference, boot);
            }
        }

        TriggerRefill();
    }

    /// <summary>
    /// Evicts a sandbox because a run needs its network. No sandbox of the network mode is booted for a while, so that the run finds what was freed.
    /// </summary>
    /// <param name="network">The network mode.</param>
    /// <param name="pause">Time without boots.</param>
    /// <returns>Whether a sandbox was destroyed. One that does not end is given up.</returns>
    internal async Task<bool> EvictOneAsync(string network, TimeSpan pause)
    {
        Task evicted;
        lock (_lock)
        {
            IReadOnlyList<PoolEntry<T>> entries = _entries.OfNetwork(network);
            foreach (PoolEntry<T> entry in entries)
            {
                entry.DelayBoots(_clock.Now + pause);
            }

            if (PoolEntries<T>.FindLeastRecentlyUsed(entries) is { } oldest)
            {
                evicted = _evictor.Evict(oldest.Ready.Dequeue());
            }
            else if (entries.FirstOrDefault(entry => !entry.LastBoot.IsCompleted) is { } booting)
            {
                // The delay makes the boot end with an eviction.
                evicted = booting.LastBoot;
            }
            else
            {
                return false;
            }
        }

        await evicted.WaitAsync(EvictionPatience, _clock.Time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return evicted.IsCompleted;
    }

    /// <summary>Checks now, instead of at the next tick, whether to boot a sandbox: processors or memory may have become free.</summary>
    internal void TriggerRefill() => _booter.Trigger();

    /// <summary>Destroys all sandboxes, including the one that is being booted.</summary>
    public async ValueTask DisposeAsync()
    {
        lock (_lock)
        {
            if (_booter.IsStopped)
            {
                return;
            }

            _booter.Stop();
            _evictor.EvictAll();
        }

        _ledger.MemoryShort -= EvictForMemory;

        await _booter.DisposeAsync().ConfigureAwait(false);
        await _evictor.WhenAllAsync().ConfigureAwait(false);
    }

    // A sandbox that is being booted is considered when it is ready and has released the memory it did not use.
    private void EvictForMemory()
    {
        lock (_lock)
        {
            _evictor.EvictForMemory();
        }
    }

    private PoolEntry<T> GetOrAdd(PoolKey key, string reference, Func<CleanupStack, CancellationToken, Task<T>> boot)
    {
        PoolEntry<T> entry = _entries.GetOrAdd(key, reference, boot, out IReadOnlyList<PoolEntry<T>> replaced);
        foreach (PoolEntry<T> other in replaced)
        {
            _evictor.Evict(other, other.Ready.Count);
        }

        return entry;
    }
}
