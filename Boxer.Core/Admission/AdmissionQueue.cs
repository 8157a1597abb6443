namespace Boxer.Admission;

/// <summary>
/// Decides how many runs there are at once, by number and by promised memory, and lets a bounded number wait. Keys are served in turn, and the
/// runs of one key in their order, except that one whose memory does not fit now is passed a few times by others that do.
/// </summary>
internal sealed class AdmissionQueue
{
    /// <summary>How often one that does not fit is passed; from then on nobody behind it is served before it.</summary>
    internal const int MostPasses = 16;

    // So that a long queue of large runs is not searched through each time that a small one ends.
    private const int MostLookedAt = 64;
    private const double Weight = 0.2;
    private static readonly TimeSpan LongestRetry = TimeSpan.FromMinutes(10);
    private readonly AdmissionBounds _bounds;
    private readonly TimeProvider _time;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Share> _shares = new(StringComparer.Ordinal);

    // The shares that have somebody who waits; the first is served next.
    private readonly LinkedList<Share> _turns = new();
    private int _places;
    private int _pulls;
    private int _running;
    private long _memory;
    private long _idle;

    // How long runs have held their slot lately; null before the first has ended.
    private double? _heldSeconds;

    /// <param name="bounds">What it holds to.</param>
    /// <param name="time">The clock.</param>
    internal AdmissionQueue(AdmissionBounds bounds, TimeProvider time)
    {
        _bounds = bounds;
        _time = time;
    }

    /// <summary>Is called, on any thread, where <see cref="LackingMegabytes"/> are wanted of the pool.</summary>
    internal Action? IdleWanted { get; set; }

    /// <summary>
    /// The memory in MiB that somebody lacks who waits, where what is promised to the pool would do for it; else 0. What is given up already and
    /// not gone yet counts as lacking too.
    /// </summary>
    internal long LackingMegabytes
    {
        get
        {
            lock (_gate)
            {
                return _idle == 0 || _running >= _bounds.Running
                    ? 0
                    : InTurn().Take(MostLookedAt)
                        .TakeWhile(waiter => waiter.Passes < MostPasses || _memory + waiter.Memory <= _bounds.MemoryMegabytes)
                        .Select(waiter => _memory + waiter.Memory).Where(all => all <= _bounds.MemoryMegabytes)
                        .Select(all => Math.Max(0, all + _idle - _bounds.MemoryMegabytes)).FirstOrDefault();
            }
        }
    }

    /// <summary>How many run and how many wait.</summary>
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

    /// <summary>Memory in MiB that is promised, to runs and to what waits in the pool.</summary>
    internal long PromisedMegabytes
    {
        get
        {
            lock (_gate)
            {
                return _memory + _idle;
            }
        }
    }

    /// <summary>How many wait for a running slot, who have an image already.</summary>
    internal int WaitingForSlot
    {
        get
        {
            lock (_gate)
            {
                return _turns.Sum(share => share.Waiting.Count);
            }
        }
    }

    /// <summary>Whether somebody does.</summary>
    internal bool IsAnyWaiting => WaitingForSlot > 0;

    /// <summary>
    /// Takes a place, which is held to the end of the run. Where all are taken, the last who waits of the key that has most gives up its place to a
    /// key that has fewer.
    /// </summary>
    /// <param name="key">Whose run it is; <see langword="null"/>: nobody's in particular.</param>
    /// <exception cref="SandboxCapacityException">Too many wait.</exception>
    internal Ticket Enter(string? key)
    {
        lock (_gate)
        {
            Share share = Find(key);
            int free = Math.Max(0, Math.Min(_bounds.Running - _running, (_bounds.RunningPerKey ?? int.MaxValue) - share.Running));
            if (share.Places - share.Running >= (long?)_bounds.WaitingPerKey + free)
            {
                throw Refuse($"{share.Places - share.Running} runs of this key wait already", share.Places - share.Running, share.Running, share);
            }

            if (_places >= (long)_bounds.Running + _bounds.Waiting && !Displace(share))
            {
                throw Refuse($"{_places - _running} runs wait already", _places - _running, _running, share);
            }

            _places++;
            share.Places++;
            return new Ticket(this, share);
        }
    }

    /// <summary>
    /// Takes a place among those who wait for their image to be pulled, who keep nobody from running whose image is here. One key has at most
    /// half of them, where there are keys.
    /// </summary>
    /// <param name="key">Whose run it is; <see langword="null"/>: nobody's in particular.</param>
    /// <exception cref="SandboxCapacityException">Too many wait for images.</exception>
    internal IDisposable EnterPull(string? key)
    {
        lock (_gate)
        {
            Share share = Find(key);
            long most = (long)_bounds.Running + _bounds.Waiting;
            long mostOfKey = string.IsNullOrEmpty(key) ? most : Math.Max(1, Math.Min(most / 2, (long?)_bounds.WaitingPerKey ?? most));
            if (_pulls >= most || share.Pulls >= mostOfKey)
            {
                throw Refuse($"{(_pulls >= most ? _pulls : share.Pulls)} runs wait for images already", 0, 1, share);
            }

            _pulls++;
            share.Pulls++;
            return new Release(() =>
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

    /// <summary>Promises memory to a sandbox that nobody runs in yet. Runs come first: where one waits there is none.</summary>
    /// <param name="megabytes">How much, in MiB.</param>
    /// <returns>What gives it back; <see langword="null"/> where there is not so much.</returns>
    internal IdleMemory? TryReserveIdle(long megabytes)
    {
        lock (_gate)
        {
            if (_turns.Count > 0 || _memory + _idle + megabytes > _bounds.MemoryMegabytes)
            {
                return null;
            }

            _idle += megabytes;
            return new IdleMemory(this, megabytes);
        }
    }

    private async Task<IDisposable> AcquireSlotAsync(Ticket ticket, long memoryMegabytes, CancellationToken cancellationToken)
    {
        var waiter = new Waiter(ticket.Share, ticket, memoryMegabytes);
        lock (_gate)
        {
            if (waiter.Share.Waiting.Count == 0)
            {
                waiter.Share.Turn = _turns.AddLast(waiter.Share);
            }

            waiter.Node = waiter.Share.Waiting.AddLast(waiter);
            GrantWaiting();
        }

        WantIdle();
        using var deadline = new CancellationTokenSource(_bounds.Timeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        using CancellationTokenRegistration registration = either.Token.Register(() => Abandon(waiter));
        if (await waiter.Granted.Task.ConfigureAwait(false) is { } slot)
        {
            return slot;
        }

        cancellationToken.ThrowIfCancellationRequested();
        lock (_gate)
        {
            throw Refuse($"No running slot became free within {_bounds.Timeout.TotalSeconds:0.###} s", _places - _running, _running, null);
        }
    }

    private void Abandon(Waiter waiter)
    {
        lock (_gate)
        {
            // Granted at the same moment: the slot is the caller's, who gives it back.
            if (waiter.Node.List is null)
            {
                return;
            }

            Remove(waiter);
            GrantWaiting();
        }

        waiter.Granted.TrySetResult(null);
        WantIdle();
    }

    private void Leave(Ticket ticket)
    {
        lock (_gate)
        {
            if (!ticket.HasLeft)
            {
                ticket.HasLeft = true;
                _places--;
                ticket.Share.Places--;
                Forget(ticket.Share);
            }
        }
    }

    private void Resize(IdleMemory idle, long megabytes)
    {
        lock (_gate)
        {
            _idle += megabytes - idle.Megabytes;
            idle.Megabytes = megabytes;
            GrantWaiting();
        }

        WantIdle();
    }

    private Release Take(Share share, long memory)
    {
        long start = _time.GetTimestamp();
        _running++;
        _memory += memory;
        share.Running++;
        return new Release(() =>
        {
            lock (_gate)
            {
                double held = _time.GetElapsedTime(start).TotalSeconds;
                _heldSeconds = _heldSeconds is { } lately ? lately + (Weight * (held - lately)) : held;
                _running--;
                _memory -= memory;
                share.Running--;
                Forget(share);
                GrantWaiting();
            }

            WantIdle();
        });
    }

    private void GrantWaiting()
    {
        while (_running < _bounds.Running && Next() is { } next)
        {
            Share share = next.Share;
            Remove(next);
            if (share.Turn is { } turn)
            {
                _turns.Remove(turn);
                _turns.AddLast(turn);
            }

            next.Granted.TrySetResult(Take(share, next.Memory));
        }
    }

    private Waiter? Next()
    {
        var passed = new List<Waiter>();
        foreach (Waiter waiter in InTurn().Take(MostLookedAt))
        {
            if (_memory + _idle + waiter.Memory <= _bounds.MemoryMegabytes)
            {
                passed.ForEach(other => other.Passes++);
                return waiter;
            }

            if (waiter.Passes >= MostPasses)
            {
                return null;
            }

            passed.Add(waiter);
        }

        return null;
    }

    // The first of each key, then who is behind them.
    private IEnumerable<Waiter> InTurn()
    {
        IEnumerable<Share> able = _turns.Where(share => share.Running < (_bounds.RunningPerKey ?? int.MaxValue));
        return able.Select(share => share.Waiting.First!.Value).Concat(able.SelectMany(share => share.Waiting.Skip(1)));
    }

    private void Remove(Waiter waiter)
    {
        Share share = waiter.Share;
        share.Waiting.Remove(waiter.Node);
        if (share.Waiting.Count == 0)
        {
            _turns.Remove(share.Turn!);
            share.Turn = null;
        }
    }

    private bool Displace(Share share)
    {
        Share? most = _turns.MaxBy(other => other.Waiting.Count);
        if (most is null || most.Waiting.Count <= share.Places - share.Running + 1)
        {
            return false;
        }

        Waiter last = most.Waiting.Last!.Value;
        Remove(last);
        last.Ticket.HasLeft = true;
        _places--;
        most.Places--;
        last.Granted.TrySetException(Refuse($"{_places - _running} runs wait, most of them of this key", most.Waiting.Count, most.Running, null));
        return true;
    }

    // Not under the gate: the pool has a lock of its own.
    private void WantIdle()
    {
        if (LackingMegabytes > 0)
        {
            IdleWanted?.Invoke();
        }
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
        if (share is { Places: 0, Pulls: 0, Running: 0 })
        {
            _shares.Remove(share.Key);
        }
    }

    // A guess: as long as those who wait take, by how many run and how long runs took lately; one second before any has ended.
    private SandboxCapacityException Refuse(string reason, int ahead, int running, Share? entered)
    {
        if (entered is not null)
        {
            Forget(entered);
        }

        double seconds = (_heldSeconds ?? 0) * (ahead + 1) / Math.Max(1, running);
        return new SandboxCapacityException($"{reason}: try again later.", TimeSpan.FromSeconds(Math.Clamp(seconds, 1, LongestRetry.TotalSeconds)));
    }

    /// <summary>A place of one run. Disposing it, once or more, gives it back.</summary>
    internal sealed class Ticket : IDisposable
    {
        private readonly AdmissionQueue _queue;

        internal Ticket(AdmissionQueue queue, Share share)
        {
            _queue = queue;
            Share = share;
        }

        internal Share Share { get; }

        internal bool HasLeft { get; set; }

        /// <summary>Waits for a running slot.</summary>
        /// <param name="memoryMegabytes">The memory that the run is promised, in MiB.</param>
        /// <param name="cancellationToken">Gives up.</param>
        /// <returns>The slot; disposing it gives it back.</returns>
        /// <exception cref="SandboxCapacityException">None became free in time, or another key had more right to the place.</exception>
        internal Task<IDisposable> AcquireSlotAsync(long memoryMegabytes, CancellationToken cancellationToken) =>
            _queue.AcquireSlotAsync(this, memoryMegabytes, cancellationToken);

        /// <inheritdoc/>
        public void Dispose() => _queue.Leave(this);
    }

    /// <summary>Memory that is promised to a sandbox that nobody runs in yet. Disposing it, once or more, gives it back.</summary>
    internal sealed class IdleMemory(AdmissionQueue queue, long megabytes) : IDisposable
    {
        /// <summary>How much, in MiB.</summary>
        internal long Megabytes { get; set; } = megabytes;

        /// <summary>Gives back what is more than this.</summary>
        /// <param name="most">In MiB.</param>
        internal void Shrink(long most)
        {
            if (most < Megabytes)
            {
                queue.Resize(this, most);
            }
        }

        /// <inheritdoc/>
        public void Dispose() => Shrink(0);
    }

    /// <summary>What one key has.</summary>
    internal sealed class Share(string key)
    {
        public string Key => key;

        public LinkedList<Waiter> Waiting { get; } = new();

        public LinkedListNode<Share>? Turn { get; set; }

        public int Places { get; set; }

        public int Pulls { get; set; }

        public int Running { get; set; }
    }

    /// <summary>Who waits for a running slot.</summary>
    internal sealed class Waiter(Share share, Ticket ticket, long memory)
    {
        public Share Share => share;

        public Ticket Ticket => ticket;

        public long Memory => memory;

        public int Passes { get; set; }

        public LinkedListNode<Waiter> Node { get; set; } = null!;

        public TaskCompletionSource<IDisposable?> Granted { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    private sealed class Release(Action action) : IDisposable
    {
        private Action? _action = action;

        public void Dispose() => Interlocked.Exchange(ref _action, null)?.Invoke();
    }
}
