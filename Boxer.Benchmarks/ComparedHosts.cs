namespace Boxer.Benchmarks;

/// <summary>The hosts of both commits.</summary>
internal sealed class ComparedHosts(ComparedHost old, ComparedHost @new) : IAsyncDisposable
{
    /// <summary>The host of a side: 0 is the old commit, 1 the new one.</summary>
    internal ComparedHost this[int side] => side == 0 ? old : @new;

    internal async Task WaitUntilIdleAsync()
    {
        await Task.WhenAll(old.WaitUntilIdleAsync(), @new.WaitUntilIdleAsync()).ConfigureAwait(false);
    }

    public async ValueTask DisposeAsync()
    {
        await old.DisposeAsync().ConfigureAwait(false);
        await @new.DisposeAsync().ConfigureAwait(false);
    }
}
