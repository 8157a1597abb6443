using Boxer.Runtime.Kept;

namespace Boxer.Sessions;

/// <summary>A connection that keeps its session in use until it is disposed.</summary>
/// <param name="inner">The connection of the sandbox.</param>
/// <param name="life">The states of the session, which may see the end of the sandbox later than the connection.</param>
/// <param name="release">Called once, at the disposal.</param>
internal sealed class SessionConnection(SandboxConnection inner, SessionLife life, Action release) : SandboxConnection
{
    private int _isDisposed;

    /// <inheritdoc/>
    public override ValueTask CloseWriteAsync(CancellationToken cancellationToken = default) => WatchAsync(inner.CloseWriteAsync(cancellationToken));

    /// <inheritdoc/>
    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => WatchAsync(inner.ReadAsync(buffer, cancellationToken));

    /// <inheritdoc/>
    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => ReadAsync(buffer.AsMemory(offset, count)).AsTask().GetAwaiter().GetResult();

    /// <inheritdoc/>
    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) => WatchAsync(inner.WriteAsync(buffer, cancellationToken));

    /// <inheritdoc/>
    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => WriteAsync(buffer.AsMemory(offset, count)).AsTask().GetAwaiter().GetResult();

    /// <inheritdoc/>
    public override void Flush() => inner.Flush();

    /// <inheritdoc/>
    public override Task FlushAsync(CancellationToken cancellationToken) => inner.FlushAsync(cancellationToken);

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _isDisposed, 1) == 0)
        {
            try
            {
                await inner.DisposeAsync().ConfigureAwait(false);
            }
            finally
            {
                release();
            }
        }

        await base.DisposeAsync().ConfigureAwait(false);
    }

    // An operation that sees the end of the sandbox ends the session before its caller sees it.
    private async ValueTask WatchAsync(ValueTask operation)
    {
        try
        {
            await operation.ConfigureAwait(false);
        }
        catch (KeptSandboxEndedException exception)
        {
            life.TryEnd(SessionEnds.From(exception.End));
            throw;
        }
    }

    private async ValueTask<int> WatchAsync(ValueTask<int> operation)
    {
        Task<int> reading = operation.AsTask();
        await WatchAsync(new ValueTask(reading)).ConfigureAwait(false);
        return await reading.ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing && Interlocked.Exchange(ref _isDisposed, 1) == 0)
        {
            try
            {
                inner.Dispose();
            }
            finally
            {
                release();
            }
        }

        base.Dispose(disposing);
    }
}
