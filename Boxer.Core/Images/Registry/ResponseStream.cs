using Boxer.Common;
namespace Boxer.Images.Registry;

/// <summary>
/// The body of a response: disposing it ends the response, a connection that breaks is a registry's fault and not a disk's, and one that drips is given up.
/// </summary>
/// <param name="response">The response.</param>
/// <param name="body">Its body.</param>
/// <param name="what">What it is, for messages.</param>
/// <param name="time">The clock that tells how fast it comes.</param>
internal sealed class ResponseStream(HttpResponseMessage response, Stream body, string what, TimeProvider time) : ForwardStream
{
    // A place that says next to nothing is given up as one that is silent: it would hold a pull for as long as that may take.
    private const int LeastBytes = 30 * 1024;

    private TimeSpan _waited;
    private long _came;

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
            throw new RegistryException($"{what} stopped coming for {RegistryHttp.Silence.TotalSeconds:0} s", RegistryFaultKind.Transient, fault);
        }
        catch (Exception fault) when (fault is IOException or HttpRequestException)
        {
            throw new RegistryException($"{what} could not be read to its end: {fault.Message}", RegistryFaultKind.Transient, fault);
        }
    }

    private void Measure(TimeSpan waited, int length)
    {
        // No read waits longer than the silence is borne: then it was the clock that jumped.
        _waited += waited > RegistryHttp.Silence ? TimeSpan.Zero : waited;
        _came += length;
        if (_waited < RegistryHttp.Silence)
        {
            return;
        }

        if (_came < LeastBytes && length > 0)
        {
            throw new RegistryException($"{what} comes too slowly: {_came} bytes in {_waited.TotalSeconds:0} s");
        }

        _waited = TimeSpan.Zero;
        _came = 0;
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
