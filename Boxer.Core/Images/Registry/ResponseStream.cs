namespace Boxer.Images;

/// <summary>The body of a response: disposing it ends the response, and a connection that breaks is a registry's fault, not a disk's.</summary>
/// <param name="response">The response.</param>
/// <param name="body">Its body.</param>
/// <param name="what">What it is, for messages.</param>
internal sealed class ResponseStream(HttpResponseMessage response, Stream body, string what) : ForwardStream
{
    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        try
        {
            return await body.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
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
