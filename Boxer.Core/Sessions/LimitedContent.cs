using Boxer.Common;

namespace Boxer.Sessions;

/// <summary>A content of the caller that must not be too long. It does not dispose the content.</summary>
/// <param name="inner">The content.</param>
/// <param name="onRead">Called with the bytes of each read. It throws for those that are too many.</param>
internal sealed class LimitedContent(Stream inner, Action<int> onRead) : ForwardStream
{
    /// <summary>The failure of the content itself, or that it is too long; <see langword="null"/>: it did not fail.</summary>
    internal Exception? Fault { get; private set; }

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        try
        {
            int read = await inner.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
            onRead(read);
            return read;
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            Fault = exception;
            throw;
        }
    }
}
