using Boxer.AspNetCore;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;

await MinimalApi.Facade.Build(args).RunAsync();

namespace MinimalApi
{
    /// <summary>
    /// Runs untrusted code over HTTP. API keys are read from the configuration, for example from the variable <c>Keys__0</c>, and options of the runner
    /// from its section <c>Boxer</c>, for example <c>--Boxer:MaxConcurrentRuns 4</c>.
    /// </summary>
    internal static class Facade
    {
        internal static WebApplication Build(string[] args, Action<WebApplicationBuilder>? configure = null)
        {
            WebApplicationBuilder builder = WebApplication.CreateSlimBuilder(args);
            builder.WebHost.UseBoxerServerLimits();
            configure?.Invoke(builder);
            builder.Services.AddBoxer(builder.Configuration.GetSection("Boxer"));
            builder.Services.AddBoxerHttp(options =>
            {
                foreach (IConfigurationSection key in builder.Configuration.GetSection("Keys").GetChildren())
                {
                    options.ApiKeys.Add(new BoxerApiKey(key.Value ?? ""));
                }
            });
            builder.Services.AddOpenTelemetry()
                .ConfigureResource(resource => resource.AddService("boxer"))
                .WithMetrics(metrics => metrics.AddMeter("Boxer", "Microsoft.AspNetCore.Hosting").AddPrometheusExporter());

            WebApplication app = builder.Build();
            app.UseBoxerHttp();
            app.MapBoxer("/");
            app.MapPrometheusScrapingEndpoint();
            app.UseSwaggerUI(options => options.SwaggerEndpoint("/openapi/v1.json", "Boxer"));
            return app;
        }
    }
}
