using Boxer;
using Boxer.Hosting;
using Boxer.Images;
using Boxer.Networking;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Registers Boxer in a container.</summary>
public static class BoxerServiceCollectionExtensions
{
    /// <summary>
    /// Registers <see cref="ISandboxRunner"/> and the <see cref="IImageStore"/> that it uses, with options, the network modes <c>none</c>,
    /// <c>sandbox</c> and <c>host</c>, a health check <c>boxer</c> and a start-up check.
    /// </summary>
    /// <param name="services">The container's services.</param>
    /// <returns>The builder of the runner: it adds network modes, another image store and options.</returns>
    /// <remarks>
    /// <para>
    /// Calls add up: each call adds its options, and everything else is registered by the first call. An <see cref="ISandboxRunner"/> or
    /// <see cref="IImageStore"/> that the application registered before is kept. Each registered <see cref="INetworkMode"/> can be named by
    /// requests.
    /// </para>
    /// <para>
    /// The runner is registered as <see cref="SandboxRunner"/> too. A decorator takes that one, and the application registers it as
    /// <see cref="ISandboxRunner"/>, before or after this call; the start-up check and the health check then are for the runner inside. The
    /// container disposes the runner.
    /// </para>
    /// <para>
    /// With a generic host, the options and the machine are checked when the host starts, and a fault keeps it from starting. In a bare
    /// container the options are checked when the runner is resolved, and the machine by the first run. Wrong options are an
    /// <see cref="OptionsValidationException"/> that lists all faults. Options are read once; a later change of the configuration is logged as a warning.
    /// </para>
    /// </remarks>
    public static IBoxerBuilder AddBoxer(this IServiceCollection services)
    {
        ArgumentNullException.ThrowIfNull(services);
        return Add(services, Options.Options.DefaultName);
    }

    /// <summary>Registers <see cref="ISandboxRunner"/> as <see cref="AddBoxer(IServiceCollection)"/> does, with options set in code.</summary>
    /// <param name="services">The container's services.</param>
    /// <param name="configure">Sets options.</param>
    /// <returns>The builder of the runner.</returns>
    public static IBoxerBuilder AddBoxer(this IServiceCollection services, Action<BoxerOptions> configure) => services.AddBoxer().Configure(configure);

    /// <summary>Registers <see cref="ISandboxRunner"/> as <see cref="AddBoxer(IServiceCollection)"/> does, with options from a configuration section.</summary>
    /// <param name="services">The container's services.</param>
    /// <param name="configuration">
    /// The section, for example <c>configuration.GetSection("Boxer")</c>; see <see cref="BoxerBuilderExtensions.Configure(IBoxerBuilder, IConfiguration)"/>.
    /// </param>
    /// <returns>The builder of the runner.</returns>
    public static IBoxerBuilder AddBoxer(this IServiceCollection services, IConfiguration configuration) => services.AddBoxer().Configure(configuration);

    /// <summary>
    /// Registers a further runner under a name: <see cref="ISandboxRunner"/> and its <see cref="IImageStore"/> as keyed services, with options of
    /// its own (the named <see cref="BoxerOptions"/>), network modes of its own and the health check <c>boxer:NAME</c>.
    /// </summary>
    /// <param name="services">The container's services.</param>
    /// <param name="name">The name; <c>[FromKeyedServices("judges")] ISandboxRunner runner</c> is the runner <c>judges</c>.</param>
    /// <returns>The builder of the runner.</returns>
    /// <remarks>
    /// Runners do not know of each other. Divide the machine among them: <see cref="BoxerOptions.MaxMemoryBytes"/>,
    /// <see cref="BoxerOptions.MaxConcurrentRuns"/> and <see cref="PoolOptions.MaxSandboxes"/> are for one runner. With a generic host, memory that
    /// does not fit into the machine is logged as a warning at the start. Runners may have one <see cref="BoxerOptions.Home"/>: they then share its
    /// images, and each of them removes unused images by its own options.
    /// </remarks>
    /// <exception cref="ArgumentException"><paramref name="name"/> is empty.</exception>
    public static IBoxerBuilder AddBoxer(this IServiceCollection services, string name)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentException.ThrowIfNullOrEmpty(name);
        return Add(services, name);
    }

    /// <summary>Registers a runner under a name as <see cref="AddBoxer(IServiceCollection, string)"/> does, with options set in code.</summary>
    /// <param name="services">The container's services.</param>
    /// <param name="name">The name.</param>
    /// <param name="configure">Sets options.</param>
    /// <returns>The builder of the runner.</returns>
    /// <exception cref="ArgumentException"><paramref name="name"/> is empty.</exception>
    public static IBoxerBuilder AddBoxer(this IServiceCollection services, string name, Action<BoxerOptions> configure) =>
        services.AddBoxer(name).Configure(configure);

    /// <summary>Registers a runner under a name as <see cref="AddBoxer(IServiceCollection, string)"/> does, with options from a configuration section.</summary>
    /// <param name="services">The container's services.</param>
    /// <param name="name">The name.</param>
    /// <param name="configuration">The section, for example <c>configuration.GetSection("Judges")</c>.</param>
    /// <returns>The builder of the runner.</returns>
    /// <exception cref="ArgumentException"><paramref name="name"/> is empty.</exception>
    public static IBoxerBuilder AddBoxer(this IServiceCollection services, string name, IConfiguration configuration) =>
        services.AddBoxer(name).Configure(configuration);

    private static BoxerBuilder Add(IServiceCollection services, string name)
    {
        var builder = new BoxerBuilder(services, name);
        if (builder.TryAddParts() is { } parts)
        {
            services.Add(builder.Describe(_ => new LocalRunner()));
            services.TryAdd(builder.Describe(provider => parts.GetLocalRunner(provider).Runner = parts.CreateRunner(provider)));
            services.TryAdd(builder.Describe<ISandboxRunner>(provider => parts.GetService<SandboxRunner>(provider)));
            services.AddSingleton<IHostedService>(provider => new BoxerStartupService(parts, provider));
            services.AddHealthChecks();
            services.AddSingleton<IConfigureOptions<HealthCheckServiceOptions>>(new BoxerHealthCheckRegistration(parts));
        }

        return builder;
    }
}
