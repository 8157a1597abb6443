using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Boxer.AspNetCore.Endpoints;

/// <summary>GET /healthz and GET /health/ready.</summary>
internal static class HealthEndpoint
{
    public static void MapHealth(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/healthz", (Delegate)LiveAsync)
            .AllowAnonymous()
            .WithOperationId("healthz")
            .WithTags("Health")
            .WithSummary("Reports that the host is alive.")
            .Produces<HealthBody>()
            .ProducesErrors(403, 421);
        routes.MapGet("/health/ready", (Delegate)ReadyAsync)
            .WithOperationId("ready")
            .WithTags("Health")
            .WithSummary("Reports whether the host accepts runs.")
            .Produces<ReadyBody>()
            .Produces<ReadyBody>(StatusCodes.Status503ServiceUnavailable)
            .ProducesErrors(401, 403, 421);
    }

    private static Task LiveAsync(HttpContext context) =>
        context.Response.WriteAsJsonAsync(new HealthBody(true), HostJson.Relaxed.HealthBody, cancellationToken: context.RequestAborted);

    private static async Task ReadyAsync(HttpContext context)
    {
        IServiceProvider services = context.RequestServices;
        // Only Boxer's checks: the descriptions of other checks may be private, such as the message of an exception.
        HealthReport report = await services.GetRequiredService<HealthCheckService>().CheckHealthAsync(
            check => check.Name == "boxer" || check.Name.StartsWith("boxer:", StringComparison.Ordinal), context.RequestAborted);
        Dictionary<string, CheckBody> checks = report.Entries.ToDictionary(
            entry => entry.Key,
            entry => new CheckBody(Name(entry.Value.Status), entry.Value.Description),
            StringComparer.Ordinal);
        bool stopping = services.GetRequiredService<GracefulShutdown>().Stopping.IsCancellationRequested;
        if (stopping)
        {
            checks["host"] = new CheckBody(Name(HealthStatus.Unhealthy), "The host is stopping.");
        }

        bool ready = !stopping && report.Status != HealthStatus.Unhealthy;
        context.Response.StatusCode = ready ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable;
        await context.Response.WriteAsJsonAsync(
            new ReadyBody(ready, checks), HostJson.Relaxed.ReadyBody, cancellationToken: context.RequestAborted);
    }

    private static string Name(HealthStatus status) =>
        status switch
        {
            HealthStatus.Healthy => "healthy",
            HealthStatus.Degraded => "degraded",
            _ => "unhealthy",
        };
}
