namespace Boxer.Images;

/// <summary>The body of a response: disposing it ends the response, and a connection that breaks is a registry's fault, not a disk's.</summary>
/// <param name="response">The response.</param>
/// <param name="body">Its body.</param>
/// <param name="what">What it is, for messages.</param>
internal sealed class ResponseStream(HttpResponseMessage response, Stream body, string what) : ForwardStream
{
    // A place that says nothing for so long is given up, so that the next one is asked.
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(30);

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        using var silent = new CancellationTokenSource(Silence, TimeProvider.System);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(silent.Token, cancellationToken);
        try
        {
            return await body.ReadAsync(buffer, either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException fault) when (!cancellationToken.IsCancellationRequested)
        {
            throw new RegistryException($"{what} stopped coming for {Silence.TotalSeconds:0} s", RegistryFaultKind.Transient, fault);
        }
        catch (Exception fault) when (fault is IOException or HttpRequestException)
        {
            throw new RegistryException($"{what} could not be read to its end: {fault.Message}", RegistryFaultKind.Transient, fault);
        }
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
