using Boxer;
using Boxer.Hosting;
using Boxer.Images;
using Boxer.Network;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Registers Boxer in a container.</summary>
public static class BoxerServiceCollectionExtensions
{
    /// <summary>
    /// Registers <see cref="ISandboxRunner"/> with its network modes, options, health check and start-up check. Calling it again only adds
    /// to the options; what was registered before wins, and every registered <see cref="INetworkMode"/> can be named by requests.
    /// </summary>
    /// <param name="services">The container's services.</param>
    /// <returns><paramref name="services"/>.</returns>
    /// <remarks>
    /// With a generic host the options and this machine are checked when the host starts, and a fault keeps it from starting. In a bare
    /// container that happens at the first run. Wrong options are an <see cref="OptionsValidationException"/> that lists all faults.
    /// </remarks>
    public static IServiceCollection AddBoxer(this IServiceCollection services)
    {
        ArgumentNullException.ThrowIfNull(services);
        services.AddOptions<BoxerOptions>();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<BoxerOptions>, BoxerOptionsValidator>());
        services.TryAddEnumerable(ServiceDescriptor.Singleton<INetworkMode, NoneNetworkMode>());
        services.TryAddEnumerable(ServiceDescriptor.Singleton<INetworkMode, HostNetworkMode>());

        // The options later: their validation asks for the modes.
        services.TryAddEnumerable(ServiceDescriptor.Singleton<INetworkMode, SandboxNetworkMode>(
            provider => new(() => provider.GetRequiredService<IOptions<BoxerOptions>>().Value, provider.GetService<TimeProvider>())));
        services.TryAddSingleton<ISandboxRunner>(CreateRunner);
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IHostedService, BoxerStartupService>());
        services.AddLogging();
        services.AddHealthChecks();
        services.TryAddSingleton<BoxerHealthCheck>();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IConfigureOptions<Diagnostics.HealthChecks.HealthCheckServiceOptions>, BoxerHealthCheckRegistration>());
        return services;
    }

    /// <summary>As <see cref="AddBoxer(IServiceCollection)"/>, with options set in code.</summary>
    /// <param name="services">The container's services.</param>
    /// <param name="configure">Sets options.</param>
    /// <returns><paramref name="services"/>.</returns>
    public static IServiceCollection AddBoxer(this IServiceCollection services, Action<BoxerOptions> configure) =>
        services.AddBoxer().Configure(configure);

    /// <summary>As <see cref="AddBoxer(IServiceCollection)"/>, with the options bound to a section of the configuration.</summary>
    /// <param name="services">The container's services.</param>
    /// <param name="configuration">The section, for example <c>configuration.GetSection("Boxer")</c>. A key that is no option is a fault.</param>
    /// <returns><paramref name="services"/>.</returns>
    public static IServiceCollection AddBoxer(this IServiceCollection services, IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        services.AddBoxer();
        var binder = new BoxerConfiguration(configuration);
        services.AddSingleton<IConfigureOptions<BoxerOptions>>(binder);
        services.AddSingleton<IValidateOptions<BoxerOptions>>(binder);
        return services;
    }

    private static SandboxRunner CreateRunner(IServiceProvider provider) => new(
        provider.GetRequiredService<IOptions<BoxerOptions>>().Value,
        provider.GetServices<INetworkMode>(),
        provider.GetService<IImageStore>(),
        provider.GetService<ILoggerFactory>(),
        provider.GetService<TimeProvider>());
}
