namespace Boxer.Common;

/// <summary>Releases the resources of a run in reverse order. A step that fails does not prevent the others.</summary>
internal sealed class CleanupStack : IAsyncDisposable
{
    private readonly Stack<Func<ValueTask>> _steps = new();

    /// <summary>Adds a resource.</summary>
    /// <returns>The same resource.</returns>
    internal T Push<T>(T held)
    {
        _steps.Push(held switch
        {
            IAsyncDisposable asynchronous => asynchronous.DisposeAsync,
            IDisposable synchronous => () =>
            {
                synchronous.Dispose();
                return ValueTask.CompletedTask;
            }
            ,
            _ => throw new ArgumentException($"{typeof(T)} cannot be disposed.", nameof(held)),
        });
        return held;
    }

    /// <summary>Adds an operation to run at the clean-up.</summary>
    internal void Defer(Func<Task> operation) => _steps.Push(() => new ValueTask(operation()));

    /// <summary>Releases all resources after another failure, which exceptions of the release must not hide.</summary>
    internal async ValueTask AbandonAsync()
    {
        try
        {
            await DisposeAsync().ConfigureAwait(false);
        }
        catch (AggregateException)
        {
            // The next start removes leftovers.
        }
    }

    /// <summary>Releases all resources.</summary>
    /// <exception cref="AggregateException">Some steps failed; all were tried.</exception>
    public async ValueTask DisposeAsync()
    {
        List<Exception>? failures = null;
        while (_steps.TryPop(out Func<ValueTask>? step))
        {
            try
            {
                await step().ConfigureAwait(false);
            }
            catch (Exception failure)
            {
                (failures ??= []).Add(failure);
            }
        }

        if (failures is not null)
        {
            throw new AggregateException(failures);
        }
    }
}
