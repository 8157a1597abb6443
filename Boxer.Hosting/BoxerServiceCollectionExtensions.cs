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
    /// Registers <see cref="ISandboxRunner"/>, <see cref="ISandboxSessions"/> and their <see cref="IImageStore"/>, with options, the network modes
    /// <c>none</c>, <c>sandbox</c> and <c>host</c>, the health check <c>boxer</c> and a start-up check.
    /// </summary>
    /// <param name="services">The container's services.</param>
    /// <returns>The builder of the runner, which adds network modes, another image store and options.</returns>
    /// <remarks>
    /// <para>
    /// Each call adds its options; only the first call registers everything else. An <see cref="ISandboxRunner"/>, <see cref="ISandboxSessions"/> or
    /// <see cref="IImageStore"/> that the application registered before is kept. Requests can use every registered <see cref="INetworkMode"/>.
    /// </para>
    /// <para>
    /// The runner is also registered as <see cref="SandboxRunner"/>. A decorator can wrap that service; the application registers the decorator as
    /// <see cref="ISandboxRunner"/>, before or after this call. The start-up check and the health check then use the wrapped runner, and so does
    /// <see cref="ISandboxSessions"/>. The container disposes the runner.
    /// </para>
    /// <para>
    /// With a generic host, the options and the machine are checked when the host starts; a fault keeps it from starting. In a plain container the
    /// options are checked when the runner is resolved, and the machine is checked by the first run. Invalid options throw an
    /// <see cref="OptionsValidationException"/> that lists all faults. Options are read once; later changes of the configuration are logged as a
    /// warning.
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
    /// Registers a further runner under a name: <see cref="ISandboxRunner"/>, <see cref="ISandboxSessions"/> and their <see cref="IImageStore"/> as keyed
    /// services, with its own options (the named <see cref="BoxerOptions"/>), its own network modes and the health check <c>boxer:NAME</c>.
    /// </summary>
    /// <param name="services">The container's services.</param>
    /// <param name="name">The name and service key; <c>[FromKeyedServices("judges")] ISandboxRunner runner</c> resolves the runner <c>judges</c>.</param>
    /// <returns>The builder of the runner.</returns>
    /// <remarks>
    /// Runners are independent. Divide the machine among them: <see cref="BoxerOptions.MaxMemoryBytes"/>,
    /// <see cref="BoxerOptions.MaxConcurrentRuns"/> and <see cref="PoolOptions.MaxSandboxes"/> apply to one runner. A generic host logs a warning at
    /// start-up if the memory of all runners exceeds that of the machine. Runners with the same <see cref="BoxerOptions.Home"/> share its images, and
    /// each of them evicts unused images by its own options.
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
            services.TryAdd(builder.Describe(parts.GetSessions));
            services.AddSingleton<IHostedService>(provider => new BoxerStartupService(parts, provider));
            services.AddHealthChecks();
            services.AddSingleton<IConfigureOptions<HealthCheckServiceOptions>>(new BoxerHealthCheckRegistration(parts));
        }

        return builder;
    }
}
