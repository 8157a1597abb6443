using Boxer.Diagnostics;
using Microsoft.Extensions.Logging;

namespace Boxer.Images.Store;

/// <summary>
/// Operations that concurrent callers share by key: one runs, and all callers wait for it. Cancelling one caller does not affect the others; cancelling
/// the last one cancels the operation. Results and faults are not remembered.
/// </summary>
/// <typeparam name="T">Type of the result.</typeparam>
/// <param name="logger">The log.</param>
internal sealed class SharedOperations<T>(ILogger logger) : IAsyncDisposable
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, Operation> _current = new(StringComparer.Ordinal);
    private readonly HashSet<Task> _running = [];
    private readonly CancellationTokenSource _disposed = new();

    /// <summary>Joins the operation of a key, or starts it.</summary>
    /// <param name="key">The key.</param>
    /// <param name="start">The operation. Its progress goes to all callers; its token is cancelled when no caller waits any more.</param>
    /// <param name="progress">Receives progress from now on; <see langword="null"/>: not reported.</param>
    /// <param name="cancellationToken">Cancels the wait; the operation ends with its last caller.</param>
    public async Task<T> RunAsync(
        string key, Func<IProgress<PullProgress>, CancellationToken, Task<T>> start, IProgress<PullProgress>? progress, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        Operation operation = Join(key, start, progress);
        try
        {
            return await operation.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            Leave(key, operation, progress);
        }
    }

    /// <summary>Cancels all operations, and waits for their ends.</summary>
    public async ValueTask DisposeAsync()
    {
        Task[] running;
        lock (_lock)
        {
            LoggedCancellation.Cancel(_disposed, logger);
            running = [.. _running];
        }

        await Task.WhenAll(running).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _disposed.Dispose();
    }

    private Operation Join(string key, Func<IProgress<PullProgress>, CancellationToken, Task<T>> start, IProgress<PullProgress>? progress)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed.IsCancellationRequested, this);
            if (!_current.TryGetValue(key, out Operation? operation) || operation.Task.IsCompleted)
            {
                var cancellation = CancellationTokenSource.CreateLinkedTokenSource(_disposed.Token);
                var listeners = new Listeners();
                operation = new(Task.Run(() => start(listeners, cancellation.Token), CancellationToken.None), cancellation, listeners);
                _current[key] = operation;
                _running.Add(operation.Task);
                _ = ForgetAsync(operation);
            }

            operation.Waiters++;
            operation.Listeners.Add(progress);
            return operation;
        }
    }

    private void Leave(string key, Operation operation, IProgress<PullProgress>? progress)
    {
        operation.Listeners.Remove(progress);
        lock (_lock)
        {
            if (--operation.Waiters > 0)
            {
                return;
            }

            // A later caller starts a new operation instead of joining a cancelled one.
            if (_current.TryGetValue(key, out Operation? current) && current == operation)
            {
                _current.Remove(key);
            }

            if (!operation.Task.IsCompleted)
            {
                operation.Cancellation.Cancel();
            }
        }
    }

    private async Task ForgetAsync(Operation operation)
    {
        await ((Task)operation.Task).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        lock (_lock)
        {
            _running.Remove(operation.Task);
            operation.Cancellation.Dispose();
        }
    }

    private sealed class Listeners : IProgress<PullProgress>
    {
        private readonly Lock _changing = new();
        private IProgress<PullProgress>[] _all = [];

        public void Add(IProgress<PullProgress>? listener)
        {
            lock (_changing)
            {
                _all = listener is null ? _all : [.. _all, listener];
            }
        }

        public void Remove(IProgress<PullProgress>? listener)
        {
            lock (_changing)
            {
                _all = [.. _all.Where(other => other != listener)];
            }
        }

        public void Report(PullProgress value)
        {
            foreach (IProgress<PullProgress> listener in _all)
            {
                try
                {
                    listener.Report(value);
                }
                catch (Exception)
                {
                    // A faulty listener must not affect other callers. It receives no more reports.
                    Remove(listener);
                }
            }
        }
    }

    private sealed class Operation(Task<T> task, CancellationTokenSource cancellation, Listeners listeners)
    {
        public Listeners Listeners { get; } = listeners;

        public Task<T> Task { get; } = task;

        public CancellationTokenSource Cancellation { get; } = cancellation;

        public int Waiters { get; set; }
    }
}
