namespace Boxer.Images;

/// <summary>
/// Operations that callers share by key: one runs, all wait for it, each may give up by itself, and the last to give up cancels it.
/// What it returned or threw is not remembered.
/// </summary>
/// <typeparam name="T">The result.</typeparam>
internal sealed class SharedOperations<T> : IAsyncDisposable
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, Operation> _current = new(StringComparer.Ordinal);
    private readonly HashSet<Task> _running = [];
    private readonly CancellationTokenSource _disposed = new();

    /// <summary>Joins the operation of a key, or starts it.</summary>
    /// <param name="key">The key.</param>
    /// <param name="start">The operation; its token is cancelled when nobody waits any more.</param>
    /// <param name="cancellationToken">Gives up waiting.</param>
    public async Task<T> RunAsync(string key, Func<CancellationToken, Task<T>> start, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        Operation operation = Join(key, start);
        try
        {
            return await operation.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            Leave(key, operation);
        }
    }

    /// <summary>Cancels what runs and waits for its end.</summary>
    public async ValueTask DisposeAsync()
    {
        Task[] running;
        lock (_lock)
        {
            _disposed.Cancel();
            running = [.. _running];
        }

        await Task.WhenAll(running).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _disposed.Dispose();
    }

    private Operation Join(string key, Func<CancellationToken, Task<T>> start)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed.IsCancellationRequested, this);
            if (!_current.TryGetValue(key, out Operation? operation) || operation.Task.IsCompleted)
            {
                var cancellation = CancellationTokenSource.CreateLinkedTokenSource(_disposed.Token);
                operation = new(Task.Run(() => start(cancellation.Token), CancellationToken.None), cancellation);
                _current[key] = operation;
                _running.Add(operation.Task);
                _ = ForgetAsync(operation);
            }

            operation.Waiters++;
            return operation;
        }
    }

    private void Leave(string key, Operation operation)
    {
        lock (_lock)
        {
            if (--operation.Waiters > 0)
            {
                return;
            }

            // Whoever comes now starts afresh instead of joining what is being cancelled.
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

    private sealed class Operation(Task<T> task, CancellationTokenSource cancellation)
    {
        public Task<T> Task { get; } = task;

        public CancellationTokenSource Cancellation { get; } = cancellation;

        public int Waiters { get; set; }
    }
}
