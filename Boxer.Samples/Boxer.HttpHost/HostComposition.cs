using Boxer.AspNetCore;
using Boxer.AspNetCore.Files;
using Boxer.AspNetCore.Endpoints;
using Boxer.AspNetCore.Security;
using Boxer.AspNetCore.Configuration;
using Boxer.AspNetCore.Description;
using Boxer.Network;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.DependencyInjection.Extensions;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;

namespace Boxer.HttpHost;

/// <summary>Puts the host together: services, middleware and endpoints.</summary>
internal static class HostComposition
{
    /// <summary>What the end of work may take beyond its grace: answers are written and sandboxes destroyed.</summary>
    private static readonly TimeSpan CleanUpTime = TimeSpan.FromSeconds(15);

    /// <summary>Makes the application; nothing is started.</summary>
    /// <param name="settings">The configuration.</param>
    /// <param name="addSandboxes">Registers the <see cref="ISandboxRunner"/>; <see langword="null"/> for Boxer's own.</param>
    public static WebApplication Build(HostSettings settings, Action<IServiceCollection>? addSandboxes = null)
    {
        // Empty: neither an appsettings.json of the current directory nor ASPNETCORE_* variables are this host's configuration.
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore();
        builder.WebHost.ConfigureKestrel(options => ConfigureKestrel(options, settings));
        builder.Services.Configure<SocketTransportOptions>(options => options.CreateBoundListenSocket = ListenAddress.CreateSocket);
        builder.Services.AddSingleton<IConnectionListenerFactory>(provider => new BoundedTransport(
            ActivatorUtilities.CreateInstance<SocketTransportFactory>(provider), DescriptorLimit.ConnectionsOf(settings), provider.GetRequiredService<TimeProvider>()));
        builder.Logging.AddSimpleConsole(console => console.SingleLine = true);
        builder.Logging.AddFilter("Microsoft.AspNetCore", LogLevel.Warning);
        builder.Logging.AddFilter("Microsoft.Hosting.Lifetime", LogLevel.Information);

        // A start that fails is told in a sentence, not as a stack trace.
        builder.Logging.AddFilter("Microsoft.Extensions.Hosting", LogLevel.None);

        IServiceCollection services = builder.Services;
        services.Configure<HostOptions>(options => options.ShutdownTimeout = settings.StopGrace + CleanUpTime);
        services.AddRouting();
        services.TryAddSingleton(TimeProvider.System);
        services.AddSingleton(settings);
        services.AddSingleton(_ => FileStore.Open(
            Path.Combine(settings.Sandboxes.Home, "files"),
            new FileStoreLimits { MaxBytes = settings.UploadQuotaBytes, MaxFiles = settings.UploadQuotaFiles }));
        services.AddSingleton<ErrorHandling>();
        services.AddSingleton<ErrorAnswers>();
        services.AddSingleton<BrowserGuard>();
        services.AddSingleton<ApiKeys>();
        services.AddSingleton<RunLifetime>();
        services.AddSingleton<RunPlaces>();
        services.AddSingleton<BodyRoom>();
        services.AddSingleton<AnswerRoom>();
        services.AddSingleton<RunPreparation>();
        services.AddHealthChecks();
        services.AddApiDescription();
        services.AddOpenTelemetry().ConfigureResource(resource => resource.AddService("boxer", serviceVersion: ServiceVersion())).WithMetrics(metrics => metrics
            .AddMeter("Boxer", "Microsoft.AspNetCore.Hosting", "Microsoft.AspNetCore.Server.Kestrel")
            .AddPrometheusExporter());
        (addSandboxes ?? (target => target.AddBoxer()))(services);
        services.AddOptions<BoxerOptions>().Configure<IEnumerable<INetworkMode>>(
            (options, modes) => settings.CopyTo(options, [.. modes.Select(mode => mode.Name)]));

        WebApplication app = builder.Build();
        app.Use((context, next) => app.Services.GetRequiredService<ErrorHandling>().InvokeAsync(context, next));
        app.Use((context, next) => app.Services.GetRequiredService<BrowserGuard>().InvokeAsync(context, next));
        app.Use((context, next) => app.Services.GetRequiredService<ApiKeys>().InvokeAsync(context, next));
        app.MapRun();
        app.MapRunStream();
        app.MapFiles();
        app.MapHealth();
        app.MapPrometheusScrapingEndpoint();
        app.MapOpenApi();
        app.UseSwaggerUI(options => options.SwaggerEndpoint("/openapi/v1.json", "Boxer"));
        return app;
    }

    private static string? ServiceVersion() => typeof(HostComposition).Assembly.GetName().Version?.ToString(3);

    private static void ConfigureKestrel(KestrelServerOptions options, HostSettings settings)
    {
        options.AddServerHeader = false;
        options.AllowSynchronousIO = false;
        options.ConfigureEndpointDefaults(listen => listen.Protocols = HttpProtocols.Http1);
        settings.ListenAddress.Bind(options);

        // Whoever reads a body sets its limit first: BodyLimit. The others are Kestrel's defaults or tighter, written down because they are part of the defence.
        options.Limits.MaxRequestBodySize = null;
        options.Limits.MaxRequestHeaderCount = 64;
        options.Limits.MaxRequestHeadersTotalSize = 32 * 1_024;
        options.Limits.MaxRequestLineSize = 16 * 1_024;
        options.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(15);
        options.Limits.KeepAliveTimeout = TimeSpan.FromSeconds(120);
        options.Limits.MinRequestBodyDataRate = new MinDataRate(bytesPerSecond: 240, gracePeriod: TimeSpan.FromSeconds(5));
        options.Limits.MinResponseDataRate = new MinDataRate(bytesPerSecond: 16 * 1_024, gracePeriod: TimeSpan.FromSeconds(10));
    }
}
