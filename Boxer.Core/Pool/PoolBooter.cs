using Boxer.Admission;
using Boxer.Common;
using Boxer.Diagnostics;
using Microsoft.Extensions.Logging;

namespace Boxer.Pool;

/// <summary>
/// The background loop of a pool. Each second it has expired sandboxes evicted. Each second, and when it is triggered, it boots the sandbox that is
/// needed most: one at a time, and only if runs do not need the processors.
/// </summary>
/// <typeparam name="T">Type of the sandboxes.</typeparam>
internal sealed class PoolBooter<T> : IAsyncDisposable
    where T : class, IPooledSandbox
{
    private static readonly TimeSpan Tick = TimeSpan.FromSeconds(1);
    private readonly PoolEntries<T> _entries;
    private readonly PoolEvictor<T> _evictor;
    private readonly Lock _lock;
    private readonly Func<bool, bool> _isBusy;
    private readonly ResourceLedger _ledger;
    private readonly long _bootBytes;
    private readonly PoolMetrics _metrics;
    private readonly PoolClock _clock;
    private readonly ILogger _logger;
    private readonly BackgroundTasks _boots = new();
    private readonly SemaphoreSlim _trigger = new(0, 1);
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _loop;
    private bool _isBooting;

    /// <summary>Starts the loop.</summary>
    /// <param name="entries">The entries of the pool.</param>
    /// <param name="evictor">Evicts sandboxes.</param>
    /// <param name="gate">The lock of the pool.</param>
    /// <param name="isBusy">Whether runs need the processors. The argument is whether the boot is urgent, because no sandbox of its key is ready.</param>
    /// <param name="ledger">The promises of memory.</param>
    /// <param name="bootBytes">Maximum memory of a sandbox until it is ready, in bytes.</param>
    /// <param name="metrics">Receives the duration of boots.</param>
    /// <param name="clock">The clock.</param>
    /// <param name="logger">Receives failures.</param>
    internal PoolBooter(
        PoolEntries<T> entries, PoolEvictor<T> evictor, Lock gate, Func<bool, bool> isBusy, ResourceLedger ledger, long bootBytes, PoolMetrics metrics, PoolClock clock, ILogger logger)
    {
        _entries = entries;
        _evictor = evictor;
        _lock = gate;
        _isBusy = isBusy;
        _ledger = ledger;
        _bootBytes = bootBytes;
        _metrics = metrics;
        _clock = clock;
        _logger = logger;
        _loop = Task.Run(LoopAsync);
    }

    /// <summary>Whether <see cref="Stop"/> was called. Read under the lock of the pool.</summary>
    internal bool IsStopped => _stop.IsCancellationRequested;

    /// <summary>Makes the loop check now, instead of at the next tick, whether to boot a sandbox.</summary>
    internal void Trigger()
    {
        lock (_lock)
        {
            if (_trigger.CurrentCount == 0 && !IsStopped)
            {
                _trigger.Release();
            }
        }
    }

    /// <summary>Cancels the boot under way and prevents further ones. Called under the lock of the pool.</summary>
    internal void Stop() => LoggedCancellation.Cancel(_stop, _logger);

    /// <summary>Waits for the end of the loop and of its boots. <see cref="Stop"/> must have been called.</summary>
    public async ValueTask DisposeAsync()
    {
        await _loop.ConfigureAwait(false);
        await _boots.WhenAllAsync().ConfigureAwait(false);
        _stop.Dispose();
        _trigger.Dispose();
    }

    private async Task LoopAsync()
    {
        TimeSpan lastEviction = _clock.Now;
        while (true)
        {
            try
            {
                // At most one boot for each tick or trigger, so that a run that arrives meanwhile finds the processors free.
                using var tick = new CancellationTokenSource(Tick, _clock.Time);
                using var either = CancellationTokenSource.CreateLinkedTokenSource(tick.Token, _stop.Token);
                await _trigger.WaitAsync(either.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (!_stop.IsCancellationRequested)
            {
                // The tick.
            }
            catch (OperationCanceledException)
            {
                return;
            }

            lock (_lock)
            {
                if (IsStopped)
                {
                    return;
                }

                if (_clock.Now - lastEviction >= Tick)
                {
                    lastEviction = _clock.Now;
                    _evictor.EvictExpired(lastEviction);
                }

                BootNext();
            }
        }
    }

    private void BootNext()
    {
        if (_isBooting
            || _entries.FindNeediest(_clock.Now) is not { } entry
            || _isBusy(entry.Ready.Count == 0)
            || !_entries.MayGrow(entry, out PoolEntry<T>? victim)
            || _ledger.TryReserveForPool(_bootBytes) is not { } memory)
        {
            return;
        }

        if (victim is not null)
        {
            _evictor.Evict(victim, 1);
        }

        _isBooting = true;
        entry.Booting++;
        entry.LastBoot = _boots.RunAsync(() => BootAsync(entry, entry.Boot, memory));
    }

    private async Task BootAsync(PoolEntry<T> entry, Func<CleanupStack, CancellationToken, Task<T>> boot, ResourceLedger.PoolReservation memory)
    {
        await Task.Yield();
        long start = _clock.Time.GetTimestamp();
        var held = new CleanupStack();
        bool isReady = false;
        try
        {
            T booted = await boot(held, _stop.Token).ConfigureAwait(false);
            booted.Freeze();
            memory.Shrink(booted.MemoryBytes);
            TimeSpan duration = _clock.Time.GetElapsedTime(start);
            _metrics.Booted(duration);
            lock (_lock)
            {
                isReady = AddReady(entry, booted, memory, duration);
                if (isReady)
                {
                    _evictor.EvictForMemory();
                }
            }
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
        }
        catch (Exception fault)
        {
            // Runs boot their own sandboxes meanwhile and report the fault.
            lock (_lock)
            {
                Log.PoolBootFailed(_logger, entry.AddFailedBoot(_clock.Now).TotalSeconds, fault);
            }
        }
        finally
        {
            // The next boot does not wait for the clean-up: a process that waits in the kernel does not end.
            lock (_lock)
            {
                _isBooting = false;
                entry.Booting--;
            }

            Trigger();
            if (!isReady)
            {
                await _evictor.EvictAsync(held, memory).ConfigureAwait(false);
            }
        }
    }

    // A boot that is not wanted any more, or whose network a run needs, does not become ready. Called under the lock of the pool.
    private bool AddReady(PoolEntry<T> entry, T booted, ResourceLedger.PoolReservation memory, TimeSpan duration)
    {
        entry.AddBoot(duration);
        if (IsStopped || !_entries.Contains(entry) || _clock.Now < entry.NotBefore)
        {
            return false;
        }

        entry.Ready.Enqueue(new(booted, _clock.Now, memory));
        return true;
    }
}
