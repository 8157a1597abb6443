using Boxer.Runtime.Kept;

namespace Boxer.Sessions;

/// <summary>
/// The file workers of one session. Each is a process in the sandbox that serves one operation at a time. A few idle ones are kept until the session is
/// about to be frozen. Thread-safe.
/// </summary>
/// <param name="parts">The session.</param>
internal sealed class SessionWorkers(SessionParts parts)
{
    /// <summary>Maximum number of idle workers that are kept.</summary>
    internal const int MaxIdle = 4;

    /// <summary>Maximum number of workers, which bounds the open streams of files.</summary>
    internal const int MaxWorkers = 64;
    private static readonly TimeSpan ClosePatience = TimeSpan.FromSeconds(1);
    private readonly Lock _lock = new();
    private readonly Stack<IFileWorker> _idle = new();
    private int _used;

    /// <summary>Takes an idle worker, or starts one.</summary>
    /// <param name="cancellationToken">Cancels the start.</param>
    /// <returns>The worker; disposing the lease, once or more, gives it back.</returns>
    /// <exception cref="SandboxCapacityException">Too many operations are in progress.</exception>
    /// <exception cref="IOException">No worker can be started.</exception>
    internal async Task<Lease> GetAsync(CancellationToken cancellationToken)
    {
        IFileWorker? worker = null;
        List<IFileWorker> ended = [];
        lock (_lock)
        {
            if (_used == MaxWorkers)
            {
                throw new SandboxCapacityException($"{MaxWorkers} operations on files are in progress in this session: try again later.");
            }

            _used++;
            while (worker is null && _idle.TryPop(out IFileWorker? idle))
            {
                if (idle.Ended.IsCompleted)
                {
                    ended.Add(idle);
                }
                else
                {
                    worker = idle;
                }
            }
        }

        try
        {
            foreach (IFileWorker gone in ended)
            {
                // Its socket is still open.
                await CloseAsync(gone).ConfigureAwait(false);
            }

            worker ??= await parts.Sandbox.OpenFilesAsync(parts.Guest.Identity, cancellationToken).ConfigureAwait(false);
            return new Lease(worker, GiveBack);
        }
        catch
        {
            lock (_lock)
            {
                _used--;
            }

            throw;
        }
    }

    /// <summary>Ends the workers that are not in use. Never fails.</summary>
    internal async Task CloseIdleAsync()
    {
        IFileWorker[] idle;
        lock (_lock)
        {
            idle = [.. _idle];
            _idle.Clear();
        }

        foreach (IFileWorker worker in idle)
        {
            await CloseAsync(worker).ConfigureAwait(false);
        }
    }

    private void GiveBack(IFileWorker worker)
    {
        lock (_lock)
        {
            _used--;
            if (!worker.Ended.IsCompleted && _idle.Count < MaxIdle && parts.Life.End is null)
            {
                _idle.Push(worker);
                return;
            }
        }

        _ = CloseAsync(worker);
    }

    private async Task CloseAsync(IFileWorker worker)
    {
        try
        {
            await worker.DisposeAsync().AsTask().WaitAsync(ClosePatience, parts.Time).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is IOException or TimeoutException or ObjectDisposedException)
        {
            // It ends with the sandbox.
        }
    }

    /// <summary>One use of a worker.</summary>
    /// <param name="worker">The worker.</param>
    /// <param name="giveBack">Gives it back.</param>
    internal sealed class Lease(IFileWorker worker, Action<IFileWorker> giveBack) : IDisposable
    {
        private int _isOver;

        /// <summary>The worker.</summary>
        internal IFileWorker Worker => worker;

        /// <inheritdoc/>
        public void Dispose()
        {
            if (Interlocked.Exchange(ref _isOver, 1) == 0)
            {
                giveBack(worker);
            }
        }
    }
}
