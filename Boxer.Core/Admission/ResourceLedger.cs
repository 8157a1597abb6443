namespace Boxer.Admission;

/// <summary>
/// Owns the promises of this machine's memory and processors. <see cref="AdmissionQueue"/> reserves memory and processors for runs, and the pool
/// reserves memory for its sandboxes. Runs come first: while a run is queued, the pool gets no memory, and it is asked to evict sandboxes if the
/// next run is short of memory. Thread-safe.
/// </summary>
internal sealed class ResourceLedger
{
    /// <summary>Unit of reserved processors: they are counted in thousandths, so that sums are exact.</summary>
    internal const long OneProcessor = 1_000;
    private readonly Lock _lock = new();
    private readonly long _totalBytes;
    private readonly long _ownProcessors;
    private readonly long _sharedProcessors;
    private long _runBytes;
    private long _poolBytes;
    private long _evictingBytes;
    private long _processors;
    private long _backgroundProcessors;
    private int _exclusiveRuns;
    private bool _isRunQueued;
    private long _nextRunBytes;

    /// <summary>Creates a ledger without promises.</summary>
    /// <param name="bounds">The memory and the processors that can be promised.</param>
    internal ResourceLedger(AdmissionBounds bounds)
    {
        _totalBytes = bounds.MemoryBytes;
        _ownProcessors = bounds.Processors * OneProcessor;
        _sharedProcessors = (long)(_ownProcessors * bounds.CpuOvercommit);
    }

    /// <summary>Called on any thread, without a lock of the ledger, when the pool has released memory.</summary>
    internal Action? PoolMemoryReleased { get; set; }

    /// <summary>Called on any thread, without a lock of the ledger, when <see cref="ShortBytes"/> may have become more than 0.</summary>
    internal Action? MemoryShort { get; set; }

    /// <summary>Memory in bytes that is promised, to runs and to the pool.</summary>
    internal long PromisedBytes
    {
        get
        {
            lock (_lock)
            {
                return _runBytes + _poolBytes;
            }
        }
    }

    /// <summary>Processors that are promised to running commands, and in the background.</summary>
    internal double PromisedProcessors
    {
        get
        {
            lock (_lock)
            {
                return (double)(_processors + _backgroundProcessors) / OneProcessor;
            }
        }
    }

    /// <summary>
    /// Memory in bytes that the next run is short of and that only evictions from the pool can free; otherwise 0. Evictions under way are counted as
    /// free.
    /// </summary>
    internal long ShortBytes
    {
        get
        {
            lock (_lock)
            {
                return _nextRunBytes == 0 ? 0 : Math.Max(0, _runBytes + _nextRunBytes + _poolBytes - _evictingBytes - _totalBytes);
            }
        }
    }

    /// <summary>Reserves memory for a run.</summary>
    /// <returns>Whether there was enough.</returns>
    internal bool TryReserveForRun(long bytes)
    {
        lock (_lock)
        {
            if (_runBytes + _poolBytes + bytes > _totalBytes)
            {
                return false;
            }

            // The next run is this one. Until the queue reports another, none is short of memory.
            _nextRunBytes = 0;
            _runBytes += bytes;
            return true;
        }
    }

    /// <summary>Releases the memory of a run.</summary>
    internal void ReleaseRun(long bytes)
    {
        lock (_lock)
        {
            _runBytes -= bytes;
        }
    }

    /// <summary>Whether a run would get its memory if the pool were empty.</summary>
    internal bool FitsWithoutPool(long bytes)
    {
        lock (_lock)
        {
            return _runBytes + bytes <= _totalBytes;
        }
    }

    /// <summary>Sets the demand of queued runs.</summary>
    /// <param name="isRunQueued">Whether a run waits for its slot.</param>
    /// <param name="nextRunBytes">Memory of the run that is next to get a slot, in bytes; 0 if memory is not the reason why it waits.</param>
    internal void SetDemand(bool isRunQueued, long nextRunBytes)
    {
        lock (_lock)
        {
            _isRunQueued = isRunQueued;
            _nextRunBytes = nextRunBytes;
        }
    }

    /// <summary>Asks the pool for evictions if the next run is short of memory. Not called under the lock of the queue: the order of locks is pool, queue, ledger.</summary>
    internal void RequestEvictions()
    {
        if (ShortBytes > 0)
        {
            MemoryShort?.Invoke();
        }
    }

    /// <summary>Reserves memory for a pooled sandbox.</summary>
    /// <param name="bytes">The memory, in bytes.</param>
    /// <returns>The reservation; <see langword="null"/> if there is not enough, or if a run is queued.</returns>
    internal PoolReservation? TryReserveForPool(long bytes)
    {
        lock (_lock)
        {
            if (_isRunQueued || _runBytes + _poolBytes + bytes > _totalBytes)
            {
                return null;
            }

            _poolBytes += bytes;
            return new PoolReservation(this, bytes);
        }
    }

    /// <summary>Returns the processors that a run could get, in thousandths.</summary>
    /// <param name="isExclusive">Whether the run shares its processors with no other run.</param>
    internal long FreeProcessors(bool isExclusive)
    {
        lock (_lock)
        {
            return (isExclusive || _exclusiveRuns > 0 ? _ownProcessors : _sharedProcessors) - _processors - _backgroundProcessors;
        }
    }

    /// <summary>Reserves processors for a command.</summary>
    /// <param name="amount">The processors, in thousandths.</param>
    /// <param name="isExclusive">Whether no more processors than the machine has may be promised while the command runs.</param>
    /// <returns>Whether there were enough.</returns>
    internal bool TryReserveProcessors(long amount, bool isExclusive)
    {
        lock (_lock)
        {
            // A command that needs more than the background leaves gets it when it is the only one. Otherwise it would never run.
            if (FreeProcessors(isExclusive) < amount && (_backgroundProcessors == 0 || _processors > 0))
            {
                return false;
            }

            _processors += amount;
            _exclusiveRuns += isExclusive ? 1 : 0;
            return true;
        }
    }

    /// <summary>Releases the processors of a command.</summary>
    /// <param name="amount">The processors, in thousandths.</param>
    /// <param name="isExclusive">Same value as for the reservation.</param>
    internal void ReleaseProcessors(long amount, bool isExclusive)
    {
        lock (_lock)
        {
            _processors -= amount;
            _exclusiveRuns -= isExclusive ? 1 : 0;
        }
    }

    /// <summary>Reserves processors for work without an end of its own. It never waits, and gets at most half of the machine.</summary>
    /// <param name="amount">The processors, in thousandths.</param>
    /// <returns>The processors that were reserved, from 0 to <paramref name="amount"/>.</returns>
    internal long ReserveBackground(long amount)
    {
        lock (_lock)
        {
            long reserved = Math.Clamp((_ownProcessors / 2) - _backgroundProcessors, 0, amount);
            _backgroundProcessors += reserved;
            return reserved;
        }
    }

    /// <summary>Releases processors of <see cref="ReserveBackground"/>.</summary>
    /// <param name="reserved">The processors that were reserved.</param>
    internal void ReleaseBackground(long reserved)
    {
        lock (_lock)
        {
            _backgroundProcessors -= reserved;
        }
    }

    /// <summary>Memory that is promised to a pooled sandbox. Disposing it, once or more, releases it.</summary>
    /// <param name="ledger">The ledger.</param>
    /// <param name="bytes">The memory, in bytes.</param>
    internal sealed class PoolReservation(ResourceLedger ledger, long bytes) : IDisposable
    {
        private bool _isEvicting;

        /// <summary>The memory, in bytes.</summary>
        internal long Bytes { get; private set; } = bytes;

        /// <summary>Releases the memory beyond a number of bytes.</summary>
        internal void Shrink(long bytes)
        {
            lock (ledger._lock)
            {
                long released = Bytes - bytes;
                if (released <= 0)
                {
                    return;
                }

                Bytes = bytes;
                ledger._poolBytes -= released;
                ledger._evictingBytes -= _isEvicting ? released : 0;
            }

            ledger.PoolMemoryReleased?.Invoke();
            ledger.RequestEvictions();
        }

        /// <summary>Counts the memory as free for <see cref="ShortBytes"/>: its sandbox is being evicted.</summary>
        internal void BeginEviction()
        {
            lock (ledger._lock)
            {
                ledger._evictingBytes += _isEvicting ? 0 : Bytes;
                _isEvicting = true;
            }
        }

        /// <inheritdoc/>
        public void Dispose() => Shrink(0);
    }
}
