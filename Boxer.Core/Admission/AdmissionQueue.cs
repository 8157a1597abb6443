using Boxer.Common;

namespace Boxer.Admission;

/// <summary>
/// Decides how many runs there are at once, by number and by the memory of the <see cref="ResourceLedger"/>, and queues a bounded number of further
/// runs. A run with a slot and a sandbox then waits for the processors of its command. Runs wait in two <see cref="FairQueue"/>s, which decide who is
/// next. Thread-safe.
/// </summary>
internal sealed partial class AdmissionQueue
{
    private const double Weight = 0.2;
    private static readonly TimeSpan LongestRetry = TimeSpan.FromMinutes(10);
    private readonly AdmissionBounds _bounds;
    private readonly TimeProvider _time;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Share> _shares = new(StringComparer.Ordinal);
    private readonly FairQueue _forSlot = new();
    private readonly FairQueue _forProcessors = new();
    private int _places;
    private int _pulls;
    private int _running;

    // Moving average of the time that runs hold their slot; null before the first has ended.
    private double? _heldSeconds;

    /// <summary>Creates an empty queue and its ledger.</summary>
    /// <param name="bounds">The bounds.</param>
    /// <param name="time">The clock.</param>
    internal AdmissionQueue(AdmissionBounds bounds, TimeProvider time)
    {
        _bounds = bounds;
        _time = time;
        Ledger = new ResourceLedger(bounds);
        Ledger.PoolMemoryReleased += GrantSlots;
    }

    /// <summary>The promises of memory and processors, shared with the pool.</summary>
    internal ResourceLedger Ledger { get; }

    /// <summary>Number of running and of queued runs. Runs that wait for their images are queued too.</summary>
    internal (int Running, int Waiting) Count
    {
        get
        {
            lock (_gate)
            {
                return (_running, _places + _pulls - _running);
            }
        }
    }

    /// <summary>Number of runs that have their image and wait for a slot.</summary>
    internal int WaitingForSlot
    {
        get
        {
            lock (_gate)
            {
                return _forSlot.Count;
            }
        }
    }

    /// <summary>Number of runs that have their sandbox and wait for processors.</summary>
    internal int WaitingForProcessors
    {
        get
        {
            lock (_gate)
            {
                return _forProcessors.Count;
            }
        }
    }

    /// <summary>Whether a run waits for a slot or for processors.</summary>
    internal bool IsAnyWaiting => WaitingForSlot + WaitingForProcessors > 0;

    /// <summary>
    /// Takes a place for a run until its end. If all places are taken, a run of a key with few queued runs displaces the last queued run of the key
    /// with the most.
    /// </summary>
    /// <param name="key">The fairness key; <see langword="null"/> is the same as empty.</param>
    /// <exception cref="SandboxCapacityException">Too many runs are queued.</exception>
    internal Ticket Enter(string? key)
    {
        lock (_gate)
        {
            Share share = Find(key);
            int free = Math.Max(0, Math.Min(_bounds.Running - _running, (_bounds.RunningPerKey ?? int.MaxValue) - share.Running));
            if (share.Places - share.Running >= (long?)_bounds.WaitingPerKey + free)
            {
                throw Reject($"{share.Places - share.Running} runs of this key wait already", share.Places - share.Running, share.Running, share);
            }

            if (_places >= (long)_bounds.Running + _bounds.Waiting && !Displace(share))
            {
                throw Reject($"{_places - _running} runs wait already", _places - _running, _running, share);
            }

            _places++;
            share.Places++;
            return new Ticket(this, share);
        }
    }

    /// <summary>
    /// Takes a ticket for an open session, which waits for processors with it. It is no place in the queue: the number of sessions is bounded by
    /// their memory.
    /// </summary>
    /// <param name="key">The fairness key; <see langword="null"/> is the same as empty.</param>
    internal Ticket EnterSession(string? key)
    {
        lock (_gate)
        {
            Share share = Find(key);
            share.Sessions++;
            return new Ticket(this, share, isSession: true);
        }
    }

    /// <summary>
    /// Takes a place for a run that waits for its image. These places are separate, so that runs whose images are in the store need not wait. One key
    /// gets at most half of them; the empty key gets all.
    /// </summary>
    /// <param name="key">The fairness key; <see langword="null"/> is the same as empty.</param>
    /// <returns>The place; disposing it, once or more, gives it back.</returns>
    /// <exception cref="SandboxCapacityException">Too many runs wait for images.</exception>
    internal IDisposable EnterPull(string? key)
    {
        lock (_gate)
        {
            Share share = Find(key);
            long most = (long)_bounds.Running + _bounds.Waiting;
            long mostOfKey = string.IsNullOrEmpty(key) ? most : Math.Max(1, Math.Min(most / 2, (long?)_bounds.WaitingPerKey ?? most));
            if (_pulls >= most || share.Pulls >= mostOfKey)
            {
                throw Reject($"{(_pulls >= most ? _pulls : share.Pulls)} runs wait for images already", 0, 1, share);
            }

            _pulls++;
            share.Pulls++;
            return new OnDispose(() =>
            {
                lock (_gate)
                {
                    _pulls--;
                    share.Pulls--;
                    Forget(share);
                }
            });
        }
    }

    private async Task<Slot> AcquireSlotAsync(Ticket ticket, long memoryBytes, CancellationToken cancellationToken)
    {
        var waiter = new Waiter(ticket, memoryBytes);
        lock (_gate)
        {
            _forSlot.Add(waiter);
            GrantSlots();
        }

        Ledger.RequestEvictions();
        return (Slot)await WaitAsync(_forSlot, waiter, "No running slot became free", cancellationToken).ConfigureAwait(false);
    }

    private Task<IDisposable> AcquireProcessorsAsync(Ticket ticket, double cores, bool isExclusive, CancellationToken cancellationToken)
    {
        var waiter = new Waiter(ticket, ToThousandths(cores), isExclusive);
        lock (_gate)
        {
            _forProcessors.Add(waiter);
            GrantProcessors();
        }

        return WaitAsync(_forProcessors, waiter, "No processor became free", cancellationToken);
    }

    private async Task<IDisposable> WaitAsync(FairQueue line, Waiter waiter, string lack, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(_bounds.Timeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        using CancellationTokenRegistration registration = either.Token.Register(() => Abandon(line, waiter));
        if (await waiter.Granted.Task.ConfigureAwait(false) is { } granted)
        {
            return granted;
        }

        cancellationToken.ThrowIfCancellationRequested();
        lock (_gate)
        {
            throw Reject($"{lack} within {_bounds.Timeout.TotalSeconds:0.###} s", _places - _running, _running, null);
        }
    }

    private void Abandon(FairQueue line, Waiter waiter)
    {
        lock (_gate)
        {
            // Granted at the same moment: the caller has it and will give it back.
            if (!line.Remove(waiter))
            {
                return;
            }

            GrantSlots();
            GrantProcessors();
        }

        waiter.Granted.TrySetResult(null);
        Ledger.RequestEvictions();
    }

    private void Leave(Ticket ticket)
    {
        lock (_gate)
        {
            if (!ticket.HasLeft)
            {
                ticket.HasLeft = true;
                if (ticket.IsSession)
                {
                    ticket.Share.Sessions--;
                }
                else
                {
                    _places--;
                    ticket.Share.Places--;
                }

                Forget(ticket.Share);
            }
        }
    }

    // The memory of the slot is reserved already.
    private Slot HoldSlot(Share share, long memory)
    {
        _running++;
        share.Running++;
        return new Slot(this, share, memory, _time.GetTimestamp());
    }

    private void GiveBack(Slot slot, bool withMemory)
    {
        lock (_gate)
        {
            if (slot.IsRunning)
            {
                double held = _time.GetElapsedTime(slot.Since).TotalSeconds;
                _heldSeconds = _heldSeconds is { } lately ? lately + (Weight * (held - lately)) : held;
                slot.IsRunning = false;
                _running--;
                slot.Share.Running--;
            }

            if (withMemory)
            {
                Ledger.ReleaseRun(slot.Memory);
                slot.Memory = 0;
            }

            Forget(slot.Share);
            GrantSlots();
        }

        Ledger.RequestEvictions();
    }

    private OnDispose HoldProcessors(Waiter waiter)
    {
        waiter.Share.Processors += waiter.Amount;
        return new OnDispose(() =>
        {
            lock (_gate)
            {
                Ledger.ReleaseProcessors(waiter.Amount, waiter.IsExclusive);
                waiter.Share.Processors -= waiter.Amount;
                Forget(waiter.Share);
                GrantProcessors();
            }
        });
    }

    private OnDispose HoldBackgroundProcessors(Share share, double cores)
    {
        lock (_gate)
        {
            long amount = Ledger.ReserveBackground(ToThousandths(cores));
            share.Processors += amount;
            return new OnDispose(() =>
            {
                lock (_gate)
                {
                    Ledger.ReleaseBackground(amount);
                    share.Processors -= amount;
                    Forget(share);
                    GrantProcessors();
                }
            });
        }
    }

    private static long ToThousandths(double cores) => (long)Math.Ceiling(cores * ResourceLedger.OneProcessor);

    private void GrantSlots()
    {
        lock (_gate)
        {
            while (_running < _bounds.Running && _forSlot.TakeNext(HasMostRunning, waiter => Ledger.TryReserveForRun(waiter.Amount)) is { } next)
            {
                next.Granted.TrySetResult(HoldSlot(next.Share, next.Amount));
            }

            ReportDemand();
        }
    }

    // Tells the ledger which run gets the next slot if evictions from the pool free enough memory.
    private void ReportDemand()
    {
        Waiter? next = _running >= _bounds.Running ? null : _forSlot.InTurn(HasMostRunning)
            .TakeWhile(waiter => waiter.Passes < FairQueue.MostPasses || Ledger.FitsWithoutPool(waiter.Amount))
            .FirstOrDefault(waiter => Ledger.FitsWithoutPool(waiter.Amount));
        Ledger.SetDemand(!_forSlot.IsEmpty, next?.Amount ?? 0);
    }

    private void GrantProcessors()
    {
        while (_forProcessors.TakeNext(WantsLastProcessor, waiter => Ledger.TryReserveProcessors(waiter.Amount, waiter.IsExclusive)) is { } next)
        {
            next.Granted.TrySetResult(HoldProcessors(next));
        }
    }

    private bool HasMostRunning(Waiter waiter) => waiter.Share.Running >= (_bounds.RunningPerKey ?? int.MaxValue);

    // A key that has processors leaves the last one to a key that waits and has none.
    private bool WantsLastProcessor(Waiter waiter) =>
        waiter.Share.Processors > 0
        && Ledger.FreeProcessors(waiter.IsExclusive) < waiter.Amount + ResourceLedger.OneProcessor
        && _forProcessors.Shares.Any(share => share.Processors == 0);

    private bool Displace(Share share)
    {
        if (_forSlot.LastOfLongest is not { } last || _forSlot.Of(last.Share).Count is var most && most <= share.Places - share.Running + 1)
        {
            return false;
        }

        _forSlot.Remove(last);
        last.Ticket.HasLeft = true;
        _places--;
        last.Share.Places--;
        ReportDemand();
        last.Granted.TrySetException(Reject($"{_places - _running} runs wait, most of them of this key", most - 1, last.Share.Running, null));
        return true;
    }

    private Share Find(string? key)
    {
        if (!_shares.TryGetValue(key ?? "", out Share? share))
        {
            _shares[key ?? ""] = share = new Share(key ?? "");
        }

        return share;
    }

    private void Forget(Share share)
    {
        // A session can outlive the share that its slot was counted in.
        if (share is { Places: 0, Pulls: 0, Running: 0, Processors: 0, Sessions: 0 } && _shares.GetValueOrDefault(share.Key) == share)
        {
            _shares.Remove(share.Key);
        }
    }

    // Estimates when a slot becomes free from the length of the queue and the duration of recent runs; 1 s before the first run has ended.
    private SandboxCapacityException Reject(string reason, int ahead, int running, Share? entered)
    {
        if (entered is not null)
        {
            Forget(entered);
        }

        double seconds = (_heldSeconds ?? 0) * (ahead + 1) / Math.Max(1, running);
        return new SandboxCapacityException($"{reason}: try again later.", TimeSpan.FromSeconds(Math.Clamp(seconds, 1, LongestRetry.TotalSeconds)));
    }
}
