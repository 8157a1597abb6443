using Boxer.AspNetCore.Configuration;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;

namespace Boxer.HttpHost;

/// <summary>Composes the host: listener, logging, services, endpoints, metrics and the page that shows the API.</summary>
internal static class HostComposition
{
    /// <summary>Builds the application without starting it.</summary>
    /// <param name="configuration">The configuration.</param>
    /// <param name="addSandboxes">Registers the <see cref="ISandboxRunner"/>; <see langword="null"/> for Boxer's own.</param>
    public static WebApplication Build(BoxerJsonConfiguration configuration, Action<IServiceCollection>? addSandboxes = null)
    {
        // An empty builder reads neither appsettings.json of the current directory nor ASPNETCORE_* variables.
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore();
        builder.WebHost.UseBoxerServerLimits();
        builder.WebHost.ConfigureKestrel(configuration.Listen);

        // With a server-wide limit, a client that is still sending to an unknown path would get a reset instead of the response.
        // Every endpoint that reads a body sets its own limit.
        builder.WebHost.ConfigureKestrel(server => server.Limits.MaxRequestBodySize = null);
        builder.Logging.AddSimpleConsole(console => console.SingleLine = true);
        builder.Logging.AddFilter("Microsoft.AspNetCore", LogLevel.Warning);
        builder.Logging.AddFilter("Microsoft.Hosting.Lifetime", LogLevel.Information);

        // HostProgram reports a failed start in one sentence, so the stack trace is not logged.
        builder.Logging.AddFilter("Microsoft.Extensions.Hosting", LogLevel.None);

        IServiceCollection services = builder.Services;
        services.AddBoxerHttp();
        (addSandboxes ?? (target => target.AddBoxer()))(services);
        configuration.Configure(services);
        services.AddOpenTelemetry().ConfigureResource(resource => resource.AddService("boxer", serviceVersion: ServiceVersion())).WithMetrics(metrics => metrics
            .AddMeter("Boxer", "Microsoft.AspNetCore.Hosting", "Microsoft.AspNetCore.Server.Kestrel")
            .AddPrometheusExporter());

        WebApplication app = builder.Build();
        app.UseBoxerHttp();
        app.MapBoxer("/");
        app.MapPrometheusScrapingEndpoint();
        app.UseSwaggerUI(options => options.SwaggerEndpoint("/openapi/v1.json", "Boxer"));
        return app;
    }

    private static string? ServiceVersion() => typeof(HostComposition).Assembly.GetName().Version?.ToString(3);
}
