using System.Threading.RateLimiting;
using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Running;

/// <summary>
/// Bounds the run requests that this host holds in memory, from when their body is here until their answer is written. The runner's own
/// queue bounds only what comes to it in between, and <see cref="RequestBodyBudget"/> what is still being sent. A rate limiter in front of the endpoint would count
/// from the first byte of a body: <c>Slow_bodies_do_not_take_the_places_of_runs</c> fails with one.
/// </summary>
internal sealed class RunRequestLimiter(IOptions<BoxerOptions> options) : IDisposable
{
    private readonly ConcurrencyLimiter _limiter = new(new ConcurrencyLimiterOptions
    {
        PermitLimit = (int)Math.Min(int.MaxValue, SandboxCounts.Of(options.Value).Running + options.Value.MaxQueuedRuns + 1),
    });

    /// <summary>Refuses a request whose body would be read in vain.</summary>
    /// <exception cref="HttpFaultException">429: no place is free.</exception>
    public void CheckFree()
    {
        if (_limiter.GetStatistics() is { CurrentAvailablePermits: 0 })
        {
            throw Full();
        }
    }

    /// <summary>Takes a place.</summary>
    /// <exception cref="HttpFaultException">429: none is free.</exception>
    public IDisposable Enter() => _limiter.AttemptAcquire() is { IsAcquired: true } lease ? lease : throw Full();

    public void Dispose() => _limiter.Dispose();

    private static HttpFaultException Full() =>
        new(StatusCodes.Status429TooManyRequests, "too many runs wait already: try again later.", TimeSpan.FromSeconds(1));
}
