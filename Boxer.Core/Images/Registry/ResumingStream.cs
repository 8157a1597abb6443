using Boxer.Common;

namespace Boxer.Images.Registry;

/// <summary>A blob whose download resumes after an interruption, with another request from that position.</summary>
/// <param name="open">Opens the blob at an offset.</param>
/// <param name="size">Size of the blob in bytes.</param>
/// <param name="what">Name of the blob, for messages.</param>
internal sealed class ResumingStream(Func<long, CancellationToken, Task<Stream>> open, long size, string what) : ForwardStream
{
    private const int MaxIdleResumes = 3;
    private const int MaxResumes = 20;
    private Stream? _current;
    private long _position;
    private int _resumes;
    private int _idleResumes;

    /// <summary>Opens the blob at its beginning.</summary>
    /// <param name="cancellationToken">Cancels the operation.</param>
    public async Task OpenAsync(CancellationToken cancellationToken) => _current = await open(0, cancellationToken).ConfigureAwait(false);

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (true)
        {
            RegistryException fault;
            try
            {
                int length = await _current!.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
                if (length > 0 || buffer.Length == 0 || _position >= size)
                {
                    _position += length;
                    _idleResumes = 0;
                    return length;
                }

                fault = new RegistryException($"{what} ended after {_position} of {size} bytes", RegistryFaultKind.Transient);
            }
            catch (RegistryException broken) when (broken.Kind == RegistryFaultKind.Transient)
            {
                fault = broken;
            }

            if (_idleResumes++ == MaxIdleResumes || _resumes++ == MaxResumes)
            {
                throw fault;
            }

            await _current!.DisposeAsync().ConfigureAwait(false);
            _current = await open(_position, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _current?.Dispose();
        }

        base.Dispose(disposing);
    }
}
