using System.Collections.Concurrent;

namespace Boxer.Common;

/// <summary>Tasks that continue after their callers have returned. Their owner waits for them before it disposes what they use.</summary>
internal sealed class BackgroundTasks
{
    private readonly ConcurrentDictionary<Task, byte> _running = new();

    /// <summary>Adds a task until it has ended.</summary>
    /// <returns>The same task.</returns>
    internal Task Add(Task task)
    {
        _running[task] = 0;
        _ = task.ContinueWith(
            static (done, state) => ((ConcurrentDictionary<Task, byte>)state!).TryRemove(done, out _),
            _running,
            CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default);
        return task;
    }

    /// <summary>Waits until all tasks have ended, also those added meanwhile. Ignores their exceptions.</summary>
    internal async Task WhenAllAsync()
    {
        while (!_running.IsEmpty)
        {
            await Task.WhenAll(_running.Keys).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
