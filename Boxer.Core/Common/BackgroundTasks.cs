using System.Collections.Concurrent;

namespace Boxer.Common;

/// <summary>Tasks that go on behind their callers, so that whoever takes away what they use can wait for them first.</summary>
internal sealed class BackgroundTasks
{
    private readonly ConcurrentDictionary<Task, byte> _running = new();

    /// <summary>Notes a task until it has ended.</summary>
    /// <returns>The task.</returns>
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

    /// <summary>Waits until none is left, those that are added meanwhile too. How they end is theirs.</summary>
    internal async Task WhenAllAsync()
    {
        while (!_running.IsEmpty)
        {
            await Task.WhenAll(_running.Keys).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
