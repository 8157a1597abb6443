namespace Boxer.Common;

/// <summary>What a run holds, given back in reverse order. A step that fails does not keep the others from being done.</summary>
internal sealed class CleanupStack : IAsyncDisposable
{
    private readonly Stack<Func<ValueTask>> _steps = new();

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

    /// <summary>Gives everything back while a failure is on its way up, which is not to be hidden by another.</summary>
    internal async ValueTask AbandonAsync()
    {
        try
        {
            await DisposeAsync().ConfigureAwait(false);
        }
        catch (AggregateException)
        {
            // What is left is the next start's to take away.
        }
    }

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
