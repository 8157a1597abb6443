using Boxer.HttpHost.Settings;

namespace Boxer.HttpHost;

/// <summary>
/// Bounds the run requests that this host holds in memory, from before their body is read until their answer is written. The runner's own
/// queue bounds only what comes to it in between.
/// </summary>
internal sealed class RunPlaces(HostSettings settings)
{
    private const int RunsForEachProcessor = 4;
    private readonly long _most = (settings.Sandboxes.MaxConcurrentRuns ?? Environment.ProcessorCount * RunsForEachProcessor) + (long)settings.Sandboxes.MaxQueuedRuns + 1;
    private long _taken;

    /// <summary>Takes a place.</summary>
    /// <exception cref="HttpFaultException">429: none is free.</exception>
    public IDisposable Enter()
    {
        if (Interlocked.Increment(ref _taken) > _most)
        {
            Interlocked.Decrement(ref _taken);
            throw new HttpFaultException(StatusCodes.Status429TooManyRequests, "too many runs wait already: try again later.", TimeSpan.FromSeconds(1));
        }

        return new Place(this);
    }

    private sealed class Place(RunPlaces places) : IDisposable
    {
        private int _left;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _left, 1) == 0)
            {
                Interlocked.Decrement(ref places._taken);
            }
        }
    }
}
