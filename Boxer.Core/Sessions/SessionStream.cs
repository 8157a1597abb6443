using Boxer.Common;
using Boxer.Runtime.Kept;

namespace Boxer.Sessions;

/// <summary>A stream to read from a session. The session is in use until it is disposed.</summary>
/// <param name="inner">The stream of the sandbox.</param>
/// <param name="path">The path that it reads, as the caller gave it.</param>
/// <param name="uses">Disposed with the stream.</param>
internal sealed class SessionStream(Stream inner, string path, params IDisposable[] uses) : ForwardStream
{
    private int _isDisposed;

    /// <inheritdoc/>
    public override bool CanRead => _isDisposed == 0;

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_isDisposed != 0, this);
        try
        {
            return await inner.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
        }
        catch (GuestFileException exception)
        {
            throw SessionFileErrors.Translate(path, exception);
        }
    }

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => ReadAsync(buffer.AsMemory(offset, count)).AsTask().GetAwaiter().GetResult();

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
                Array.ForEach(uses, use => use.Dispose());
            }
        }

        await base.DisposeAsync().ConfigureAwait(false);
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
                Array.ForEach(uses, use => use.Dispose());
            }
        }

        base.Dispose(disposing);
    }
}
