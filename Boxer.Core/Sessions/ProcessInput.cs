using Boxer.Common;

namespace Boxer.Sessions;

/// <summary>Standard input of a process of a session. A write keeps the session in use; disposing it is the end of the file.</summary>
/// <param name="life">The states of the session.</param>
/// <param name="input">The input in the sandbox.</param>
/// <param name="hasEnded">Whether the process has ended.</param>
internal sealed class ProcessInput(SessionLife life, Stream input, Func<bool> hasEnded) : SinkStream
{
    private bool _isDisposed;

    /// <inheritdoc/>
    public override bool CanWrite => !_isDisposed;

    /// <inheritdoc/>
    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        ThrowIfEnded();

        // This use is a stream: a process that does not read must not keep the session from a pause.
        using IDisposable use = life.Begin(isStream: true);
        await input.WriteAsync(buffer, cancellationToken).ConfigureAwait(false);
        ThrowIfEnded();
    }

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => WriteAsync(buffer.AsMemory(offset, count)).AsTask().GetAwaiter().GetResult();

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        if (!_isDisposed)
        {
            _isDisposed = true;
            await input.DisposeAsync().ConfigureAwait(false);
        }

        await base.DisposeAsync().ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing && !_isDisposed)
        {
            _isDisposed = true;
            input.Dispose();
        }

        base.Dispose(disposing);
    }

    private void ThrowIfEnded()
    {
        if (hasEnded())
        {
            throw new IOException("The process has ended, and reads no more.");
        }
    }
}
