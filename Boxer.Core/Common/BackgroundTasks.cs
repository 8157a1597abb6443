using System.Collections.Concurrent;

namespace Boxer.Common;

/// <summary>Tracks operations that outlive the calls that started them. The owner waits for them before it disposes the objects that they use.</summary>
internal sealed class BackgroundTasks
{
    private readonly ConcurrentDictionary<Task, byte> _running = new();

    /// <summary>
    /// Starts an operation and tracks it until it has ended. It is tracked before its first step: either <see cref="WhenAllAsync"/> waits for it, or it
    /// sees everything that the caller of that method did before.
    /// </summary>
    /// <param name="operation">The operation.</param>
    internal async Task RunAsync(Func<Task> operation)
    {
        var ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _running[ended.Task] = 0;
        try
        {
            await operation().ConfigureAwait(false);
        }
        finally
        {
            _running.TryRemove(ended.Task, out _);
            ended.SetResult();
        }
    }

    /// <summary>Waits until all operations have ended, including those started meanwhile. Ignores their exceptions.</summary>
    internal async Task WhenAllAsync()
    {
        while (!_running.IsEmpty)
        {
            await Task.WhenAll(_running.Keys).ConfigureAwait(false);
        }
    }
}
