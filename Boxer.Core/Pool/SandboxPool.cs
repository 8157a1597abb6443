using Boxer.Admission;
using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Validation;
using Microsoft.Extensions.Logging;

namespace Boxer.Pool;

/// <summary>
/// Sandboxes that wait for their run. What is in use is kept warm without being asked, as much as its demand wants; what is not goes by time.
/// They are booted in the background, while nobody runs who needs the processors.
/// </summary>
/// <typeparam name="T">The sandboxes.</typeparam>
internal sealed class SandboxPool<T> : IAsyncDisposable
    where T : class, IPooledSandbox
{
    private static readonly TimeSpan Tick = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan FirstPause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan LongestPause = TimeSpan.FromMinutes(1);

    // How long more wait than are wanted.
    private static readonly TimeSpan Surplus = TimeSpan.FromSeconds(30);
    private readonly Lock _lock = new();
    private readonly Dictionary<PoolKey, Entry> _entries = [];
    private readonly Dictionary<(string Reference, string Network), int> _minimums = [];
    private readonly BackgroundTasks _working = new();
    private readonly SemaphoreSlim _wake = new(0, 1);
    private readonly CancellationTokenSource _stop = new();
    private readonly int _maxSandboxes;
    private readonly TimeSpan _idleTimeout;
    private readonly TimeSpan _maxAge;
    private readonly Func<bool, bool> _isBusy;
    private readonly AdmissionQueue _admission;
    private readonly long _bootBytes;
    private readonly PoolMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly long _start;
    private readonly Task _loop;
    private int _booting;

    // Of what is being destroyed.
    private long _leavingBytes;
    private Task _boot = Task.CompletedTask;

    /// <summary>Starts an empty pool.</summary>
    /// <param name="options">How many wait, and how long.</param>
    /// <param name="images">The images of the options, parsed.</param>
    /// <param name="isBusy">
    /// Whether those who run need the processors, so that nothing is booted ahead; told whether it is urgent, because none waits.
    /// </param>
    /// <param name="admission">What promises memory: what waits has its share.</param>
    /// <param name="bootBytes">The memory that one may take until it waits, in bytes.</param>
    /// <param name="metrics">What it counts.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">Where it logs to.</param>
    internal SandboxPool(
        PoolOptions options, IEnumerable<PoolImage> images, Func<bool, bool> isBusy, AdmissionQueue admission, long bootBytes, PoolMetrics metrics, TimeProvider time, ILogger logger)
    {
        _admission = admission;
        _bootBytes = bootBytes;
        _maxSandboxes = options.MaxSandboxes ?? PoolOptions.DefaultMaxSandboxes;
        foreach (PoolImage image in images.Where(image => image.Count > 0))
        {
            _minimums[(image.Image.ToString(), KeptNetwork)] = image.Count;
        }

        _idleTimeout = options.IdleTimeout;
        _maxAge = options.MaxAge;
        _isBusy = isBusy;
        _metrics = metrics;
        _time = time;
        _logger = logger;
        _start = time.GetTimestamp();
        _metrics.Observe(() => Count);
        _loop = Task.Run(LoopAsync);
    }

    /// <summary>The network mode of <see cref="PoolOptions.Images"/>.</summary>
    internal const string KeptNetwork = "none";

    /// <summary>Sandboxes that wait.</summary>
    internal int Count
    {
        get
        {
            lock (_lock)
            {
                return _entries.Values.Sum(entry => entry.Waiting.Count);
            }
        }
    }

    private TimeSpan Now => _time.GetElapsedTime(_start);

    /// <summary>Takes a sandbox that waits, and sees to it that others wait for those who come next.</summary>
    /// <param name="key">Which.</param>
    /// <param name="reference">What the image is called: sandboxes of another that had this name before are dropped.</param>
    /// <param name="boot">Boots one more like it.</param>
    /// <param name="mostBytes">The limit of memory that it is to live on with, in bytes.</param>
    /// <returns>One that is awake, which is the caller's from then on; <see langword="null"/> where none waits.</returns>
    internal T? Take(PoolKey key, string reference, Func<CancellationToken, Task<T>> boot, long mostBytes = long.MaxValue)
    {
        T? taken = null;
        lock (_lock)
        {
            if (_stop.IsCancellationRequested)
            {
                return null;
            }

            Entry entry = Enter(key, reference, boot);
            entry.Demand.Take(Now);
            while (taken is null && entry.Waiting.TryPeek(out Waiting waiting) && FitsIn(waiting, mostBytes))
            {
                taken = Wake(entry.Waiting.Dequeue());
                if (taken is not null)
                {
                    _metrics.Age(Now - waiting.Since);

                    // It is part of what the run was promised.
                    waiting.Memory.Dispose();
                }
            }
        }

        _metrics.Taken(taken is not null);
        Wake();
        return taken;
    }

    /// <summary>Boots as many as <see cref="PoolOptions.Images"/> wants of an image, before anybody wants one.</summary>
    /// <param name="key">Which.</param>
    /// <param name="reference">What the image is called.</param>
    /// <param name="boot">Boots one.</param>
    internal void Keep(PoolKey key, string reference, Func<CancellationToken, Task<T>> boot)
    {
        lock (_lock)
        {
            if (!_stop.IsCancellationRequested)
            {
                Enter(key, reference, boot);
            }
        }

        Wake();
    }

    /// <summary>
    /// Destroys one that waits, for a run that lacks what it holds: those who run come before those who may run later. None like it is booted
    /// ahead for a while, so that the run finds what was freed.
    /// </summary>
    /// <param name="network">The network mode of which it is.</param>
    /// <param name="pause">How long none is booted ahead.</param>
    /// <returns>Whether one is gone now.</returns>
    internal async Task<bool> GiveUpAsync(string network, TimeSpan pause)
    {
        Task gone;
        lock (_lock)
        {
            Entry[] entries = [.. _entries.Where(pair => pair.Key.Network == network).Select(pair => pair.Value)];
            TimeSpan until = Now + pause;
            foreach (Entry entry in entries)
            {
                entry.NotBefore = entry.NotBefore > until ? entry.NotBefore : until;
            }

            if (entries.Where(entry => entry.Waiting.Count > 0).MinBy(entry => entry.Demand.LastTaken) is { } oldest)
            {
                gone = _working.Add(LeaveAsync(oldest.Waiting.Dequeue()));
            }
            else if (entries.Any(entry => entry.Booting > 0))
            {
                // It goes as soon as it is there.
                gone = _boot;
            }
            else
            {
                return false;
            }
        }

        await gone.ConfigureAwait(false);
        return true;
    }

    /// <summary>
    /// Destroys as many of those that wait as have the memory that a run lacks, the longest unwanted first. One that is being booted is looked at
    /// when it is there and has given back what it did not take.
    /// </summary>
    internal void GiveUpMemory()
    {
        lock (_lock)
        {
            while (_admission.LackingBytes > _leavingBytes && _entries.Values.Where(entry => entry.Waiting.Count > 0).MinBy(entry => entry.Demand.LastTaken) is { } oldest)
            {
                Destroy(oldest.Waiting.Dequeue());
            }
        }
    }

    /// <summary>Looks now, instead of at the next tick, whether there is something to boot: the processors may be free.</summary>
    internal void Wake()
    {
        lock (_lock)
        {
            if (_wake.CurrentCount == 0 && !_stop.IsCancellationRequested)
            {
                _wake.Release();
            }
        }
    }

    /// <summary>Destroys what waits and what is being booted.</summary>
    public async ValueTask DisposeAsync()
    {
        lock (_lock)
        {
            if (_stop.IsCancellationRequested)
            {
                return;
            }

            _stop.Cancel();
            foreach (Entry entry in _entries.Values)
            {
                Drop(entry, entry.Waiting.Count);
            }
        }

        await _loop.ConfigureAwait(false);
        await _working.WhenAllAsync().ConfigureAwait(false);
        _stop.Dispose();
        _wake.Dispose();
    }

    private async Task LoopAsync()
    {
        TimeSpan trimmed = Now;
        while (true)
        {
            try
            {
                // One at a time is booted for each tick or wake, so that whoever comes meanwhile finds the processors free.
                using var tick = new CancellationTokenSource(Tick, _time);
                using var either = CancellationTokenSource.CreateLinkedTokenSource(tick.Token, _stop.Token);
                await _wake.WaitAsync(either.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                if (_stop.IsCancellationRequested)
                {
                    return;
                }
            }

            lock (_lock)
            {
                if (_stop.IsCancellationRequested)
                {
                    return;
                }

                if (Now - trimmed >= Tick)
                {
                    trimmed = Now;
                    Trim();
                }

                Refill();
            }
        }
    }

    private Entry Enter(PoolKey key, string reference, Func<CancellationToken, Task<T>> boot)
    {
        if (!_entries.TryGetValue(key, out Entry? entry))
        {
            foreach ((PoolKey other, Entry replaced) in _entries.Where(pair => pair.Key.Network == key.Network && pair.Key.ImageDigest != key.ImageDigest && pair.Value.Reference == reference).ToList())
            {
                Drop(replaced, replaced.Waiting.Count);
                _entries.Remove(other);
            }

            _entries[key] = entry = new();
        }

        // An image of several names keeps the one that the options have.
        int minimum = _minimums.GetValueOrDefault((reference, key.Network));
        if (minimum > 0 || entry.Minimum == 0)
        {
            entry.Reference = reference;
            entry.Minimum = minimum;
            entry.Boot = boot;
        }

        return entry;
    }

    // The first is known, and is the most that the second can be.
    private static bool FitsIn(Waiting waiting, long mostBytes)
    {
        try
        {
            return waiting.Memory.Bytes <= mostBytes || waiting.Sandbox.LeastBytes <= mostBytes;
        }
        catch (IOException)
        {
            return false;
        }
    }

    // What is dead, old, or more than is wanted goes.
    private void Trim()
    {
        TimeSpan now = Now;
        foreach ((PoolKey key, Entry entry) in _entries.ToList())
        {
            bool isIdle = now - entry.Demand.LastTaken > _idleTimeout;
            bool isOneOld = false;
            for (int i = entry.Waiting.Count; i > 0; i--)
            {
                // Of the old one at a time, so that others wait when they go.
                Waiting waiting = entry.Waiting.Dequeue();
                bool isOld = !isOneOld && now - waiting.Since > _maxAge;
                isOneOld |= isOld;
                if ((isIdle && i > entry.Minimum) || isOld || !IsAlive(waiting.Sandbox))
                {
                    Destroy(waiting);
                }
                else
                {
                    entry.Waiting.Enqueue(waiting);
                }
            }

            // More than are wanted wait a while for the next burst.
            if (now - entry.Demand.LastTaken > Surplus)
            {
                Drop(entry, entry.Waiting.Count - entry.Target(now));
            }

            if (isIdle && entry.Minimum == 0 && entry.Booting == 0)
            {
                _entries.Remove(key);
            }
        }
    }

    private void Refill()
    {
        if (_booting > 0)
        {
            return;
        }

        TimeSpan now = Now;
        Entry? neediest = _entries.Values
            .Where(entry => now >= entry.NotBefore && entry.Waiting.Count + entry.Booting < (now - entry.Demand.LastTaken <= _idleTimeout ? entry.Target(now) : entry.Minimum))
            .OrderByDescending(entry => entry.Waiting.Count < entry.Minimum).ThenBy(entry => entry.Waiting.Count).ThenByDescending(entry => entry.Demand.LastTaken)
            .FirstOrDefault();
        if (neediest is null || _maxSandboxes == 0 || _isBusy(neediest.Waiting.Count == 0))
        {
            return;
        }

        Entry? oldest = null;
        if (_entries.Values.Sum(entry => entry.Waiting.Count) >= _maxSandboxes)
        {
            // The room of what was not wanted for the longest time, unless that has fewer already.
            oldest = _entries.Values.Where(entry => entry != neediest && entry.Waiting.Count > entry.Minimum).MinBy(entry => entry.Demand.LastTaken);
            bool isOwed = neediest.Waiting.Count < neediest.Minimum;
            if (oldest is null || (!isOwed && (oldest.Demand.LastTaken >= neediest.Demand.LastTaken || oldest.Waiting.Count <= neediest.Waiting.Count)))
            {
                return;
            }
        }

        if (_admission.TryReserveIdle(_bootBytes) is not { } memory)
        {
            return;
        }

        if (oldest is not null)
        {
            Drop(oldest, 1);
        }

        _booting++;
        neediest.Booting++;
        _boot = _working.Add(BootAsync(neediest, neediest.Boot, memory));
    }

    private async Task BootAsync(Entry entry, Func<CancellationToken, Task<T>> boot, AdmissionQueue.IdleMemory memory)
    {
        await Task.Yield();
        long start = _time.GetTimestamp();
        T? booted = null;
        bool isWaiting = false;
        try
        {
            booted = await boot(_stop.Token).ConfigureAwait(false);
            booted.Freeze();
            memory.Shrink(booted.MemoryBytes);
            TimeSpan time = _time.GetElapsedTime(start);
            _metrics.Booted(time);
            lock (_lock)
            {
                entry.Pause = TimeSpan.Zero;
                entry.Demand.Booted(time);
                if (!_stop.IsCancellationRequested && _entries.ContainsValue(entry) && Now >= entry.NotBefore)
                {
                    entry.Waiting.Enqueue(new(booted, Now, memory));
                    (booted, isWaiting) = (null, true);
                    GiveUpMemory();
                }
            }
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
        }
        catch (Exception fault)
        {
            // Runs boot their own meanwhile, and say what is wrong.
            lock (_lock)
            {
                entry.Pause = entry.Pause == TimeSpan.Zero ? FirstPause : entry.Pause < LongestPause / 2 ? entry.Pause * 2 : LongestPause;
                entry.NotBefore = Now + entry.Pause;
                Log.PoolBootFailed(_logger, entry.Pause.TotalSeconds, fault);
            }
        }
        finally
        {
            if (booted is not null)
            {
                await DestroyAsync(booted).ConfigureAwait(false);
            }

            if (!isWaiting)
            {
                memory.Dispose();
            }

            lock (_lock)
            {
                _booting--;
                entry.Booting--;
            }

            Wake();
        }
    }

    private T? Wake(Waiting waiting)
    {
        try
        {
            if (waiting.Sandbox.IsAlive)
            {
                waiting.Sandbox.Thaw();
                return waiting.Sandbox;
            }
        }
        catch (Exception fault)
        {
            Log.PoolSandboxLost(_logger, fault);
        }

        Destroy(waiting);
        return null;
    }

    private bool IsAlive(T sandbox)
    {
        try
        {
            return sandbox.IsAlive;
        }
        catch (Exception fault)
        {
            Log.PoolSandboxLost(_logger, fault);
            return false;
        }
    }

    private void Drop(Entry entry, int count)
    {
        for (; count > 0 && entry.Waiting.TryDequeue(out Waiting waiting); count--)
        {
            Destroy(waiting);
        }
    }

    private void Destroy(Waiting waiting) => _ = _working.Add(LeaveAsync(waiting));

    // Under the lock.
    private Task LeaveAsync(Waiting waiting)
    {
        _leavingBytes += waiting.Memory.Bytes;
        return DestroyAsync(waiting);
    }

    private async Task DestroyAsync(Waiting waiting)
    {
        // Whoever holds the lock now goes on first.
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        await DestroyAsync(waiting.Sandbox).ConfigureAwait(false);
        lock (_lock)
        {
            // Both at once: what is still promised and does not leave any more would be given up again, by others.
            _leavingBytes -= waiting.Memory.Bytes;
            waiting.Memory.Dispose();
        }
    }

    private async Task DestroyAsync(T sandbox)
    {
        try
        {
            await sandbox.DisposeAsync().ConfigureAwait(false);
        }
        catch (Exception fault)
        {
            Log.PoolCleanupFailed(_logger, fault);
        }
    }

    private readonly record struct Waiting(T Sandbox, TimeSpan Since, AdmissionQueue.IdleMemory Memory);

    private sealed class Entry
    {
        public Queue<Waiting> Waiting { get; } = new();

        public Demand Demand { get; } = new();

        public Func<CancellationToken, Task<T>> Boot { get; set; } = null!;

        public string Reference { get; set; } = "";

        /// <summary>So many wait also where nobody wants one.</summary>
        public int Minimum { get; set; }

        public int Booting { get; set; }

        /// <summary>After a boot that failed, or while runs lack what it would hold.</summary>
        public TimeSpan NotBefore { get; set; }

        public TimeSpan Pause { get; set; }

        public int Target(TimeSpan now) => Math.Max(Minimum, Demand.Target(now));
    }
}
