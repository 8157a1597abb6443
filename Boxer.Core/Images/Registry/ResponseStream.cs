using Boxer.Common;

namespace Boxer.Images.Registry;

/// <summary>
/// The body of a response. Disposing it disposes the response. Broken, silent and very slow connections are registry faults.
/// </summary>
/// <param name="response">The response.</param>
/// <param name="body">Its body.</param>
/// <param name="what">Name of the content, for messages.</param>
/// <param name="time">The clock that measures the transfer rate.</param>
internal sealed class ResponseStream(HttpResponseMessage response, Stream body, string what, TimeProvider time) : ForwardStream
{
    // Minimum number of bytes in each period of silence: a slower transfer would delay a pull until its timeout.
    private const int LeastBytes = 30 * 1024;

    private TimeSpan _waited;
    private long _received;

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        using var silent = new CancellationTokenSource(RegistryHttp.Silence, TimeProvider.System);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(silent.Token, cancellationToken);
        try
        {
            long start = time.GetTimestamp();
            int length = await body.ReadAsync(buffer, either.Token).ConfigureAwait(false);
            Measure(time.GetElapsedTime(start), length);
            return length;
        }
        catch (OperationCanceledException fault) when (!cancellationToken.IsCancellationRequested)
        {
            throw new RegistryException($"{what} stalled for {RegistryHttp.Silence.TotalSeconds:0} s", RegistryFaultKind.Transient, fault);
        }
        catch (Exception fault) when (fault is IOException or HttpRequestException)
        {
            throw new RegistryException($"{what} could not be read to its end: {fault.Message}", RegistryFaultKind.Transient, fault);
        }
    }

    private void Measure(TimeSpan waited, int length)
    {
        // No read waits longer than the maximum silence. If it seems so, the clock has jumped.
        _waited += waited > RegistryHttp.Silence ? TimeSpan.Zero : waited;
        _received += length;
        if (_waited < RegistryHttp.Silence)
        {
            return;
        }

        if (_received < LeastBytes && length > 0)
        {
            throw new RegistryException($"{what} is received too slowly: {_received} bytes in {_waited.TotalSeconds:0} s");
        }

        _waited = TimeSpan.Zero;
        _received = 0;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            body.Dispose();
            response.Dispose();
        }

        base.Dispose(disposing);
    }
}
