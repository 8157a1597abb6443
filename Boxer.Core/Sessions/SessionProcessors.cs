using Boxer.Admission;

namespace Boxer.Sessions;

/// <summary>
/// The processors that one session is promised. Its commands wait for them in turn with all runs, and parallel commands share them, as the limit of the
/// sandbox holds for all together. Streams and processes without an end of their own get them from the background share, without waiting. An idle
/// session has none. Thread-safe.
/// </summary>
/// <param name="ticket">Waits for processors.</param>
/// <param name="cores">Number of processors of the sandbox.</param>
/// <param name="hasBackground">Whether streams or processes are awake.</param>
internal sealed class SessionProcessors(AdmissionQueue.Ticket ticket, double cores, Func<bool> hasBackground) : IDisposable
{
    private readonly Lock _lock = new();
    private Grant? _grant;
    private IDisposable? _background;
    private bool _isDisposed;

    /// <summary>Waits for processors for a command.</summary>
    /// <param name="cancellationToken">Cancels the wait.</param>
    /// <returns>The processors; disposing it, once or more, gives them back.</returns>
    /// <exception cref="SandboxCapacityException">No processors became free in time.</exception>
    internal async Task<IDisposable> AcquireAsync(CancellationToken cancellationToken)
    {
        Grant grant;
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);

            // While a command waits or runs, its promise covers the background too.
            _background?.Dispose();
            _background = null;
            grant = _grant ??= new Grant(ticket.AcquireProcessorsAsync);
            grant.Users++;
        }

        var lease = new Lease(this, grant);
        try
        {
            await grant.GetAsync(cores).WaitAsync(cancellationToken).ConfigureAwait(false);
            return lease;
        }
        catch
        {
            lease.Dispose();
            throw;
        }
    }

    /// <summary>Takes or gives back the background share.</summary>
    internal void Update()
    {
        lock (_lock)
        {
            if (_isDisposed || _grant is not null || !hasBackground())
            {
                _background?.Dispose();
                _background = null;
            }
            else
            {
                _background ??= ticket.HoldBackgroundProcessors(cores);
            }
        }
    }

    /// <summary>Gives everything back that no command holds.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _isDisposed = true;
        }

        Update();
    }

    private void Release(Grant grant)
    {
        lock (_lock)
        {
            if (--grant.Users > 0)
            {
                return;
            }

            _grant = null;
        }

        grant.Dispose();
        Update();
    }

    /// <summary>Processors that commands share.</summary>
    private sealed class Grant(Func<double, bool, CancellationToken, Task<IDisposable>> acquire) : IDisposable
    {
        private readonly CancellationTokenSource _nobodyWaits = new();
        private readonly Lock _lock = new();
        private Task<IDisposable>? _granted;

        // The lock of the session's processors protects it.
        internal int Users { get; set; }

        internal Task<IDisposable> GetAsync(double cores)
        {
            lock (_lock)
            {
                return _granted ??= acquire(cores, false, _nobodyWaits.Token);
            }
        }

        public void Dispose()
        {
            Task<IDisposable>? granted;
            lock (_lock)
            {
                granted = _granted;
            }

            _nobodyWaits.Cancel();
            _nobodyWaits.Dispose();
            if (granted is not null)
            {
                _ = GiveBackAsync(granted);
            }
        }

        // The processors may be granted at the moment of the cancellation.
        private static async Task GiveBackAsync(Task<IDisposable> granted)
        {
            try
            {
                (await granted.ConfigureAwait(false)).Dispose();
            }
            catch (Exception exception) when (exception is SandboxCapacityException or OperationCanceledException)
            {
                // Nothing was granted.
            }
        }
    }

    private sealed class Lease(SessionProcessors owner, Grant grant) : IDisposable
    {
        private int _isOver;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _isOver, 1) == 0)
            {
                owner.Release(grant);
            }
        }
    }
}
