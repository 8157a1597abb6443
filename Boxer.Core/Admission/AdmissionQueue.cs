namespace Boxer.Admission;

/// <summary>
/// Decides how many runs there are at once, by number and by promised memory, and lets a bounded number wait, first come first served.
/// </summary>
internal sealed class AdmissionQueue
{
    private readonly int _maxRunning;
    private readonly long _maxMemory;
    private readonly int _maxWaiting;
    private readonly TimeSpan _timeout;
    private readonly TimeProvider _time;
    private readonly Lock _gate = new();
    private readonly LinkedList<Waiter> _waiting = new();
    private int _places;
    private int _running;
    private long _memory;

    /// <param name="maxRunning">Runs at once.</param>
    /// <param name="maxMemoryMegabytes">Memory that running sandboxes may be promised together.</param>
    /// <param name="maxWaiting">Runs that may be on their way to a running slot beyond those that have one.</param>
    /// <param name="timeout">How long a run may wait for a running slot.</param>
    /// <param name="time">The clock.</param>
    internal AdmissionQueue(int maxRunning, long maxMemoryMegabytes, int maxWaiting, TimeSpan timeout, TimeProvider time)
    {
        _maxRunning = maxRunning;
        _maxMemory = maxMemoryMegabytes;
        _maxWaiting = maxWaiting;
        _timeout = timeout;
        _time = time;
    }

    internal long MaxMemoryMegabytes => _maxMemory;

    /// <summary>How many run and how many wait.</summary>
    internal (int Running, int Waiting) Count
    {
        get
        {
            lock (_gate)
            {
                return (_running, _places - _running);
            }
        }
    }

    /// <summary>Whether somebody waits for a running slot, who has an image already.</summary>
    internal bool IsAnyWaiting
    {
        get
        {
            lock (_gate)
            {
                return _waiting.Count > 0;
            }
        }
    }

    /// <summary>Takes a place. It is held from here to the end of the run, while the image is pulled too.</summary>
    /// <exception cref="SandboxCapacityException">Too many wait.</exception>
    internal IDisposable Enter()
    {
        lock (_gate)
        {
            if (_places >= _maxRunning + _maxWaiting)
            {
                throw new SandboxCapacityException($"{_places - _running} runs wait already: try again later.", RetryAfter());
            }

            _places++;
        }

        return new Release(() =>
        {
            lock (_gate)
            {
                _places--;
            }
        });
    }

    /// <summary>Waits for a running slot.</summary>
    /// <exception cref="SandboxCapacityException">None became free in time.</exception>
    internal async Task<IDisposable> AcquireSlotAsync(long memoryMegabytes, CancellationToken cancellationToken)
    {
        Waiter waiter;
        lock (_gate)
        {
            if (_waiting.Count == 0 && Fits(memoryMegabytes))
            {
                return Take(memoryMegabytes);
            }

            waiter = new Waiter(memoryMegabytes);
            waiter.Node = _waiting.AddLast(waiter);
        }

        using var deadline = new CancellationTokenSource(_timeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        using CancellationTokenRegistration registration = either.Token.Register(() => Abandon(waiter));
        if (await waiter.Granted.Task.ConfigureAwait(false) is { } slot)
        {
            return slot;
        }

        cancellationToken.ThrowIfCancellationRequested();
        throw new SandboxCapacityException($"No running slot became free within {_timeout.TotalSeconds:0.###} s: try again later.", RetryAfter());
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

            _waiting.Remove(waiter.Node);
            GrantWaiting();
        }

        waiter.Granted.TrySetResult(null);
    }

    private bool Fits(long memory) => _running < _maxRunning && _memory + memory <= _maxMemory;

    private Release Take(long memory)
    {
        _running++;
        _memory += memory;
        return new Release(() =>
        {
            lock (_gate)
            {
                _running--;
                _memory -= memory;
                GrantWaiting();
            }
        });
    }

    // Strictly in order: a large run at the head is not starved by small ones behind it.
    private void GrantWaiting()
    {
        while (_waiting.First is { } first && Fits(first.Value.Memory))
        {
            _waiting.RemoveFirst();
            first.Value.Granted.TrySetResult(Take(first.Value.Memory));
        }
    }

    // A guess: one second, and one more for each full round of runs that is ahead.
    private TimeSpan RetryAfter() => TimeSpan.FromSeconds(1 + ((_places - _running) / Math.Max(1, _maxRunning)));

    private sealed class Waiter(long memory)
    {
        public long Memory { get; } = memory;

        public LinkedListNode<Waiter> Node { get; set; } = null!;

        public TaskCompletionSource<IDisposable?> Granted { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    private sealed class Release(Action action) : IDisposable
    {
        private Action? _action = action;

        public void Dispose() => Interlocked.Exchange(ref _action, null)?.Invoke();
    }
}
