using System.Threading.RateLimiting;
using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Running;

/// <summary>
/// Limits the run requests in memory, from the end of their body until their response is written. The runner's queue limits only the runs inside
/// it, and <see cref="RequestBodyBudget"/> only the bodies that are being received. A rate limiter in front of the endpoint would count from the
/// first byte of a body (test: <c>Slow_bodies_do_not_use_up_the_run_limit</c>).
/// </summary>
internal sealed class RunRequestLimiter(IOptions<BoxerOptions> options) : IDisposable
{
    private readonly ConcurrencyLimiter _limiter = new(new ConcurrencyLimiterOptions
    {
        PermitLimit = (int)Math.Min(int.MaxValue, SandboxCounts.Of(options.Value).Running + options.Value.MaxQueuedRuns + 1),
    });

    /// <summary>Rejects a request before its body is read, if the limit is reached already.</summary>
    /// <exception cref="HttpFaultException">The limit is reached (429).</exception>
    public void CheckAvailable()
    {
        if (_limiter.GetStatistics() is { CurrentAvailablePermits: 0 })
        {
            throw Exceeded();
        }
    }

    /// <summary>Counts a request until the returned object is disposed.</summary>
    /// <exception cref="HttpFaultException">The limit is reached (429).</exception>
    public IDisposable Acquire() => _limiter.AttemptAcquire() is { IsAcquired: true } lease ? lease : throw Exceeded();

    public void Dispose() => _limiter.Dispose();

    private static HttpFaultException Exceeded() =>
        new(StatusCodes.Status429TooManyRequests, "too many runs are queued: try again later.", TimeSpan.FromSeconds(1));
}
