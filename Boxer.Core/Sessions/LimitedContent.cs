using Boxer.Common;

namespace Boxer.Sessions;

/// <summary>A content of the caller that must not be longer than a number of bytes. It does not dispose the content.</summary>
/// <param name="inner">The content.</param>
/// <param name="maxBytes">The number of bytes.</param>
/// <param name="exceeded">Creates the exception for a longer one.</param>
internal sealed class LimitedContent(Stream inner, long maxBytes, Func<Exception> exceeded) : ForwardStream
{
    private long _left = maxBytes;

    /// <summary>The failure of the content itself; <see langword="null"/>: it did not fail.</summary>
    internal Exception? Fault { get; private set; }

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        int read;
        try
        {
            read = await inner.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            Fault = exception;
            throw;
        }

        _left -= read;
        if (_left < 0)
        {
            throw Fault = exceeded();
        }

        return read;
    }
}
