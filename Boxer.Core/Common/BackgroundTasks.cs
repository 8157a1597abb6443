using System.Collections.Concurrent;

namespace Boxer.Common;

/// <summary>Tracks tasks that outlive the calls that started them. The owner waits for them before it disposes the objects that they use.</summary>
internal sealed class BackgroundTasks
{
    private readonly ConcurrentDictionary<Task, byte> _running = new();

    /// <summary>Tracks a task until it has ended.</summary>
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

    /// <summary>Waits until all tasks have ended, including tasks added meanwhile. Ignores their exceptions.</summary>
    internal async Task WhenAllAsync()
    {
        while (!_running.IsEmpty)
        {
            await Task.WhenAll(_running.Keys).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
