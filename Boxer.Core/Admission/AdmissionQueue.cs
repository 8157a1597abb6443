namespace Boxer.Admission;

/// <summary>
/// Decides how many runs there are at once, by number and by promised memory, and lets a bounded number wait. A run that has its slot and its
/// sandbox then waits for the processors that its command is promised. Runs wait in two <see cref="WaitingLine"/>s, which say who is next.
/// </summary>
internal sealed class AdmissionQueue
{
    private const long OneProcessor = 1_000;
    private const double Weight = 0.2;
    private static readonly TimeSpan LongestRetry = TimeSpan.FromMinutes(10);
    private readonly AdmissionBounds _bounds;
    private readonly TimeProvider _time;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Share> _shares = new(StringComparer.Ordinal);
    private readonly WaitingLine _forSlot = new();
    private readonly WaitingLine _forProcessors = new();
    private int _places;
    private int _pulls;
    private int _running;
    private long _memory;
    private long _idle;

    // In thousandths, so that sums are exact.
    private long _processors;
    private int _exclusive;

    // How long runs have held their slot lately; null before the first has ended.
    private double? _heldSeconds;

    /// <param name="bounds">What it holds to.</param>
    /// <param name="time">The clock.</param>
    internal AdmissionQueue(AdmissionBounds bounds, TimeProvider time)
    {
        _bounds = bounds;
        _time = time;
    }

    /// <summary>Is called, on any thread, where <see cref="LackingBytes"/> are wanted of the pool.</summary>
    internal Action? IdleWanted { get; set; }

    /// <summary>
    /// The memory in bytes that somebody lacks who waits, where what is promised to the pool would do for it; else 0. What is given up already and
    /// not gone yet counts as lacking too.
    /// </summary>
    internal long LackingBytes
    {
        get
        {
            lock (_gate)
            {
                return _idle == 0 || _running >= _bounds.Running
                    ? 0
                    : _forSlot.InTurn(HasMostRunning)
                        .TakeWhile(waiter => waiter.Passes < WaitingLine.MostPasses || _memory + waiter.Amount <= _bounds.MemoryBytes)
                        .Select(waiter => _memory + waiter.Amount).Where(all => all <= _bounds.MemoryBytes)
                        .Select(all => Math.Max(0, all + _idle - _bounds.MemoryBytes)).FirstOrDefault();
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

    /// <summary>Memory in bytes that is promised, to runs and to what waits in the pool.</summary>
    internal long PromisedBytes
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
                return _forSlot.Count;
            }
        }
    }

    /// <summary>How many wait for processors, whose sandbox is ready.</summary>
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

    /// <summary>Whether somebody waits for a running slot or for processors.</summary>
    internal bool IsAnyWaiting => WaitingForSlot + WaitingForProcessors > 0;

    /// <summary>Processors that are promised to commands that run.</summary>
    internal double PromisedProcessors
    {
        get
        {
            lock (_gate)
            {
                return (double)_processors / OneProcessor;
            }
        }
    }

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
    /// <param name="bytes">How much.</param>
    /// <returns>What gives it back; <see langword="null"/> where there is not so much.</returns>
    internal IdleMemory? TryReserveIdle(long bytes)
    {
        lock (_gate)
        {
            if (!_forSlot.IsEmpty || _memory + _idle + bytes > _bounds.MemoryBytes)
            {
                return null;
            }

            _idle += bytes;
            return new IdleMemory(this, bytes);
        }
    }

    private async Task<IDisposable> AcquireSlotAsync(Ticket ticket, long memoryBytes, CancellationToken cancellationToken)
    {
        var waiter = new Waiter(ticket, memoryBytes);
        lock (_gate)
        {
            _forSlot.Add(waiter);
            GrantSlots();
        }

        WantIdle();
        return await WaitAsync(_forSlot, waiter, "No running slot became free", cancellationToken).ConfigureAwait(false);
    }

    private Task<IDisposable> AcquireProcessorsAsync(Ticket ticket, double cores, bool isExclusive, CancellationToken cancellationToken)
    {
        var waiter = new Waiter(ticket, (long)Math.Ceiling(cores * OneProcessor), isExclusive);
        lock (_gate)
        {
            _forProcessors.Add(waiter);
            GrantProcessors();
        }

        return WaitAsync(_forProcessors, waiter, "No processor became free", cancellationToken);
    }

    private async Task<IDisposable> WaitAsync(WaitingLine line, Waiter waiter, string lack, CancellationToken cancellationToken)
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
            throw Refuse($"{lack} within {_bounds.Timeout.TotalSeconds:0.###} s", _places - _running, _running, null);
        }
    }

    private void Abandon(WaitingLine line, Waiter waiter)
    {
        lock (_gate)
        {
            // Granted at the same moment: it is the caller's, who gives it back.
            if (!line.Remove(waiter))
            {
                return;
            }

            GrantSlots();
            GrantProcessors();
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

    private void Resize(IdleMemory idle, long bytes)
    {
        lock (_gate)
        {
            _idle += bytes - idle.Bytes;
            idle.Bytes = bytes;
            GrantSlots();
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
                GrantSlots();
            }

            WantIdle();
        });
    }

    private Release TakeProcessors(Waiter waiter)
    {
        Charge(1);
        return new Release(() =>
        {
            lock (_gate)
            {
                Charge(-1);
                Forget(waiter.Share);
                GrantProcessors();
            }
        });

        void Charge(int sign)
        {
            _processors += sign * waiter.Amount;
            waiter.Share.Processors += sign * waiter.Amount;
            _exclusive += waiter.IsExclusive ? sign : 0;
        }
    }

    private void GrantSlots()
    {
        while (_running < _bounds.Running
            && _forSlot.TakeNext(HasMostRunning, waiter => _memory + _idle + waiter.Amount <= _bounds.MemoryBytes) is { } next)
        {
            next.Granted.TrySetResult(Take(next.Share, next.Amount));
        }
    }

    private void GrantProcessors()
    {
        while (_forProcessors.TakeNext(WantsLastProcessor, waiter => FreeProcessors(waiter) >= waiter.Amount) is { } next)
        {
            next.Granted.TrySetResult(TakeProcessors(next));
        }
    }

    private bool HasMostRunning(Waiter waiter) => waiter.Share.Running >= (_bounds.RunningPerKey ?? int.MaxValue);

    // A key that has processors leaves the last one to a key that waits and has none.
    private bool WantsLastProcessor(Waiter waiter) =>
        waiter.Share.Processors > 0 && FreeProcessors(waiter) < waiter.Amount + OneProcessor && _forProcessors.Shares.Any(share => share.Processors == 0);

    // A run whose processors are its own shares them neither with those that run nor with those that come.
    private long FreeProcessors(Waiter waiter) =>
        (waiter.IsExclusive || _exclusive > 0 ? _bounds.Processors * OneProcessor : (long)(_bounds.Processors * OneProcessor * _bounds.CpuOvercommit)) - _processors;

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
        last.Granted.TrySetException(Refuse($"{_places - _running} runs wait, most of them of this key", most - 1, last.Share.Running, null));
        return true;
    }

    // Not under the gate: the pool has a lock of its own.
    private void WantIdle()
    {
        if (LackingBytes > 0)
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
        if (share is { Places: 0, Pulls: 0, Running: 0, Processors: 0 })
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
        /// <param name="memoryBytes">The memory that the run is promised, in bytes.</param>
        /// <param name="cancellationToken">Gives up.</param>
        /// <returns>The slot; disposing it gives it back.</returns>
        /// <exception cref="SandboxCapacityException">None became free in time, or another key had more right to the place.</exception>
        internal Task<IDisposable> AcquireSlotAsync(long memoryBytes, CancellationToken cancellationToken) =>
            _queue.AcquireSlotAsync(this, memoryBytes, cancellationToken);

        /// <summary>
        /// Waits for processors. Only a run that has its slot and its sandbox does so, and it waits for nothing else after: so those that hold
        /// processors always go on.
        /// </summary>
        /// <param name="cores">How many, at most the machine's.</param>
        /// <param name="isExclusive">Whether no more processors than the machine has may be promised, to all runs together, while it holds them.</param>
        /// <param name="cancellationToken">Cancels the wait.</param>
        /// <returns>The processors; disposing it, once or more, gives them back.</returns>
        /// <exception cref="SandboxCapacityException">They did not become free in time.</exception>
        internal Task<IDisposable> AcquireProcessorsAsync(double cores, bool isExclusive, CancellationToken cancellationToken) =>
            _queue.AcquireProcessorsAsync(this, cores, isExclusive, cancellationToken);

        /// <inheritdoc/>
        public void Dispose() => _queue.Leave(this);
    }

    /// <summary>Memory that is promised to a sandbox that nobody runs in yet. Disposing it, once or more, gives it back.</summary>
    internal sealed class IdleMemory(AdmissionQueue queue, long bytes) : IDisposable
    {
        /// <summary>How much.</summary>
        internal long Bytes { get; set; } = bytes;

        /// <summary>Gives back what is more than this.</summary>
        /// <param name="most">In bytes.</param>
        internal void Shrink(long most)
        {
            if (most < Bytes)
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

        public int Places { get; set; }

        public int Pulls { get; set; }

        public int Running { get; set; }

        /// <summary>Processors that its commands are promised, in thousandths.</summary>
        public long Processors { get; set; }
    }

    private sealed class Release(Action action) : IDisposable
    {
        private Action? _action = action;

        public void Dispose() => Interlocked.Exchange(ref _action, null)?.Invoke();
    }
}
