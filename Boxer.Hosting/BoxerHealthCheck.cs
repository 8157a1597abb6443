using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Options;

namespace Boxer.Hosting;

/// <summary>The health check <c>boxer</c>, or <c>boxer:NAME</c>: checks whether this machine is prepared to run sandboxes.</summary>
internal sealed class BoxerHealthCheck(SandboxRunner? runner) : IHealthCheck
{
    public async Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default)
    {
        if (runner is null)
        {
            return HealthCheckResult.Healthy();
        }

        try
        {
            await runner.StartAsync(cancellationToken).ConfigureAwait(false);
            return HealthCheckResult.Healthy();
        }
        catch (SandboxException exception)
        {
            // Descriptions are often shown to anonymous clients, so they have only the public message. The log has the exception.
            return HealthCheckResult.Unhealthy(exception.PublicMessage, exception);
        }
        catch (ObjectDisposedException exception)
        {
            return HealthCheckResult.Unhealthy("The runner was disposed.", exception);
        }
    }
}

/// <summary>Adds the health check of one runner.</summary>
internal sealed class BoxerHealthCheckRegistration(RunnerParts parts) : IConfigureOptions<HealthCheckServiceOptions>
{
    public void Configure(HealthCheckServiceOptions options) => options.Registrations.Add(new HealthCheckRegistration(
        parts.Name.Length == 0 ? "boxer" : $"boxer:{parts.Name}", provider => new BoxerHealthCheck(parts.FindRunner(provider)), failureStatus: null, tags: ["ready"]));
}
