using Boxer.Common;

namespace Boxer.Cli.Server;

/// <summary>The bytes of a response with events. The server sends a comment each 15 s, so that a connection that is silent for long is broken.</summary>
/// <param name="inner">The response.</param>
/// <param name="lasts">Called when bytes come later than <see cref="Lasting"/> after the response began.</param>
/// <param name="time">The clock.</param>
internal sealed class EventBytes(Stream inner, Action lasts, TimeProvider time) : ForwardStream
{
    /// <summary>Maximum time without bytes.</summary>
    internal static readonly TimeSpan Silence = TimeSpan.FromSeconds(60);

    /// <summary>Time after which a connection counts as one that works. Connections that break at once must not be tried forever.</summary>
    internal static readonly TimeSpan Lasting = TimeSpan.FromSeconds(5);

    private readonly long _began = time.GetTimestamp();

    /// <summary>Waits for the server.</summary>
    /// <exception cref="IOException">It was silent for too long, or could not be reached in time.</exception>
    internal static async Task<T> InTimeAsync<T>(Func<CancellationToken, Task<T>> action, TimeProvider time, CancellationToken cancellationToken)
    {
        using CancellationTokenSource silent = new(Silence, time);
        using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, silent.Token);
        try
        {
            return await action(either.Token);
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw new IOException($"The server was silent for {Silence.TotalSeconds:0} s, or could not be reached.", exception);
        }
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        int read = await InTimeAsync(token => inner.ReadAsync(buffer, token).AsTask(), time, cancellationToken);
        if (read > 0 && time.GetElapsedTime(_began) >= Lasting)
        {
            lasts();
        }

        return read;
    }

    protected override void Dispose(bool disposing)
    {
        inner.Dispose();
        base.Dispose(disposing);
    }
}
