using Boxer.AspNetCore.Configuration;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;

namespace Boxer.HttpHost;

/// <summary>Puts the host together: listener, log, services, endpoints, metrics and the page that shows the API.</summary>
internal static class HostComposition
{
    /// <summary>Makes the application; nothing is started.</summary>
    /// <param name="configuration">The configuration.</param>
    /// <param name="addSandboxes">Registers the <see cref="ISandboxRunner"/>; <see langword="null"/> for Boxer's own.</param>
    public static WebApplication Build(BoxerJsonConfiguration configuration, Action<IServiceCollection>? addSandboxes = null)
    {
        // Empty: neither an appsettings.json of the current directory nor ASPNETCORE_* variables are this host's configuration.
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore();
        builder.WebHost.UseBoxerServerLimits();
        builder.WebHost.ConfigureKestrel(configuration.Listen);

        // Unknown paths too: a client that still sends sees the answer. No endpoint reads a body without a limit of its own.
        builder.WebHost.ConfigureKestrel(server => server.Limits.MaxRequestBodySize = null);
        builder.Logging.AddSimpleConsole(console => console.SingleLine = true);
        builder.Logging.AddFilter("Microsoft.AspNetCore", LogLevel.Warning);
        builder.Logging.AddFilter("Microsoft.Hosting.Lifetime", LogLevel.Information);

        // A start that fails is told in a sentence, not as a stack trace.
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
