using System.Net.Sockets;
using Boxer.Runtime.Init;

namespace Boxer.Runtime.Kept;

/// <summary>A connection to a port of a kept sandbox, which PID 1 relays.</summary>
/// <param name="connection">The connection in the channel, which is open.</param>
/// <param name="sandboxEnded">Completes when the sandbox has ended.</param>
internal sealed class GuestConnection(SessionConnection connection, Task<KeptSandboxEnd> sandboxEnded) : SandboxConnection
{
    private volatile bool _isDisposed;

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        if (buffer.IsEmpty)
        {
            return 0;
        }

        int count = await connection.Output.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
        if (count == 0)
        {
            await ThrowIfBrokenAsync().ConfigureAwait(false);
        }

        return count;
    }

    /// <inheritdoc/>
    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => ReadAsync(buffer.AsMemory(offset, count)).AsTask().GetAwaiter().GetResult();

    /// <inheritdoc/>
    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        if (!await connection.Input.WriteAsync(buffer, cancellationToken).ConfigureAwait(false))
        {
            await ThrowIfBrokenAsync().ConfigureAwait(false);
            throw new IOException("The direction towards the sandbox is closed.");
        }
    }

    /// <inheritdoc/>
    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => WriteAsync(buffer.AsMemory(offset, count)).AsTask().GetAwaiter().GetResult();

    /// <inheritdoc/>
    public override async ValueTask CloseWriteAsync(CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        connection.Input.Complete();
        await ThrowIfBrokenAsync().ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public override void Flush()
    {
    }

    /// <inheritdoc/>
    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing && !_isDisposed)
        {
            _isDisposed = true;
            connection.Release();
        }

        base.Dispose(disposing);
    }

    private async ValueTask ThrowIfBrokenAsync()
    {
        if (!connection.Closed.IsCompleted)
        {
            return;
        }

        switch (await connection.Closed.ConfigureAwait(false))
        {
            case null:
                throw new KeptSandboxEndedException(await sandboxEnded.ConfigureAwait(false));
            case { Errno: not 0 and var errno }:
                throw new IOException("The connection broke.", Failure(errno));
        }
    }

    /// <summary>Creates the exception of an error number of the sandbox.</summary>
    internal static SocketException Failure(int errno) => new((int)(errno switch
    {
        Native.Errno.ECONNREFUSED => SocketError.ConnectionRefused,
        Native.Errno.ECONNRESET or Native.Errno.EPIPE => SocketError.ConnectionReset,
        _ => SocketError.SocketError,
    }), Terminations.Describe(errno));
}
