using Boxer.AspNetCore.Configuration;

namespace Boxer.AspNetCore;

/// <summary>
/// Bounds the run requests that this host holds in memory, from when their body is here until their answer is written. The runner's own
/// queue bounds only what comes to it in between, and <see cref="BodyRoom"/> what is still being sent.
/// </summary>
internal sealed class RunPlaces(HostSettings settings)
{
    private readonly long _most = settings.MostRunning + settings.Sandboxes.MaxQueuedRuns + 1;
    private long _taken;

    /// <summary>Refuses a request whose body would be read in vain.</summary>
    /// <exception cref="HttpFaultException">429: no place is free.</exception>
    public void CheckFree()
    {
        if (Interlocked.Read(ref _taken) >= _most)
        {
            throw Full();
        }
    }

    /// <summary>Takes a place.</summary>
    /// <exception cref="HttpFaultException">429: none is free.</exception>
    public IDisposable Enter()
    {
        if (Interlocked.Increment(ref _taken) > _most)
        {
            Interlocked.Decrement(ref _taken);
            throw Full();
        }

        return new Place(this);
    }

    private static HttpFaultException Full() =>
        new(StatusCodes.Status429TooManyRequests, "too many runs wait already: try again later.", TimeSpan.FromSeconds(1));

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
