using Boxer.Common;
using Boxer.Runtime.Init;

namespace Boxer.Runtime.Kept;

/// <summary>Standard input of a relayed process. Bytes after its end are dropped. Disposing is the end of the file.</summary>
/// <param name="input">The input in the channel.</param>
internal sealed class GuestInput(SessionInput input) : SinkStream
{
    private volatile bool _isDisposed;

    /// <inheritdoc/>
    public override bool CanWrite => !_isDisposed;

    /// <inheritdoc/>
    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        await input.WriteAsync(buffer, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => WriteAsync(buffer.AsMemory(offset, count)).AsTask().GetAwaiter().GetResult();

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing && !_isDisposed)
        {
            _isDisposed = true;
            input.Complete();
        }

        base.Dispose(disposing);
    }
}
