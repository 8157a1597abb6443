using Boxer.Admission;

namespace Boxer.Sessions;

/// <summary>
/// The processors that one session is promised. Its commands wait for them in turn with all runs, and parallel commands share them, as the limit of the
/// sandbox holds for all together: the first one that gets them has them for all that wait, each of which waits for its own time. Streams and processes without an end of their own get them from the background share, without waiting. An idle
/// session has none. Thread-safe.
/// </summary>
/// <param name="ticket">Waits for processors.</param>
/// <param name="cores">Number of processors of the sandbox.</param>
/// <param name="hasBackground">Whether streams or processes are awake.</param>
internal sealed class SessionProcessors(AdmissionQueue.Ticket ticket, double cores, Func<bool> hasBackground) : IDisposable
{
    private readonly Lock _lock = new();
    private readonly HashSet<Lease> _waiting = [];
    private readonly CancellationTokenSource _ending = new();
    private IDisposable? _granted;
    private int _users;
    private IDisposable? _background;
    private bool _isDisposed;

    /// <summary>Waits for processors for a command.</summary>
    /// <param name="cancellationToken">Cancels the wait.</param>
    /// <returns>The processors; disposing it, once or more, gives them back.</returns>
    /// <exception cref="SandboxCapacityException">No processors became free in time.</exception>
    internal async Task<IDisposable> AcquireAsync(CancellationToken cancellationToken)
    {
        var lease = new Lease(this);
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);

            // While a command waits or runs, its promise covers the background too.
            _background?.Dispose();
            _background = null;
            if (_granted is not null)
            {
                _users++;
                return lease;
            }

            _waiting.Add(lease);
        }

        using var wait = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _ending.Token);
        Task<IDisposable> own = ticket.AcquireProcessorsAsync(cores, false, wait.Token);
        Task offered = OfferAsync(own);
        try
        {
            await Task.WhenAny(lease.Granted.Task, offered).ConfigureAwait(false);
            if (!lease.Granted.Task.IsCompleted)
            {
                await own.ConfigureAwait(false);
            }

            return lease;
        }
        catch
        {
            lease.Dispose();
            throw;
        }
        finally
        {
            await wait.CancelAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Takes or gives back the background share.</summary>
    internal void Update()
    {
        lock (_lock)
        {
            if (_isDisposed || _granted is not null || _waiting.Count > 0 || !hasBackground())
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

    /// <summary>Gives everything back that no command holds, and ends the waits: the callers of a session that ended have left them.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _isDisposed = true;
        }

        _ending.Cancel();
        Update();
    }

    // The processors may be granted at the moment of the cancellation, or to two that wait.
    private async Task OfferAsync(Task<IDisposable> granting)
    {
        IDisposable granted;
        try
        {
            granted = await granting.ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is SandboxCapacityException or OperationCanceledException)
        {
            return;
        }

        lock (_lock)
        {
            if (_granted is null && _waiting.Count > 0 && !_isDisposed)
            {
                _granted = granted;
                _users = _waiting.Count;
                foreach (Lease lease in _waiting)
                {
                    lease.Granted.TrySetResult();
                }

                _waiting.Clear();
                return;
            }
        }

        granted.Dispose();
    }

    private void Release(Lease lease)
    {
        IDisposable? free = null;
        lock (_lock)
        {
            if (!_waiting.Remove(lease) && --_users == 0)
            {
                (free, _granted) = (_granted, null);
            }
        }

        free?.Dispose();
        Update();
    }

    private sealed class Lease(SessionProcessors owner) : IDisposable
    {
        private int _isOver;

        /// <summary>Completes when the session got processors while this command waited.</summary>
        internal TaskCompletionSource Granted { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _isOver, 1) == 0)
            {
                owner.Release(this);
            }
        }
    }
}
