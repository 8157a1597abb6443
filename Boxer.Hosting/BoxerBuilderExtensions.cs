using System.Diagnostics.CodeAnalysis;
using Boxer;
using Boxer.Hosting;
using Boxer.Hosting.Configuration;
using Boxer.Images;
using Boxer.Networking;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Configures one runner of a container.</summary>
public static class BoxerBuilderExtensions
{
    /// <summary>Sets options in code. All <c>Configure</c> calls take effect in their order.</summary>
    /// <param name="builder">The builder of the runner.</param>
    /// <param name="configure">Sets options.</param>
    /// <returns><paramref name="builder"/>.</returns>
    public static IBoxerBuilder Configure(this IBoxerBuilder builder, Action<BoxerOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(configure);
        builder.Services.Configure(builder.Name, configure);
        return builder;
    }

    /// <summary>Sets options from a configuration section.</summary>
    /// <param name="builder">The builder of the runner.</param>
    /// <param name="configuration">
    /// The section, for example <c>configuration.GetSection("Boxer")</c>. Its keys are the properties of <see cref="BoxerOptions"/>. Unknown keys are
    /// faults. A list replaces an earlier list. Sizes are in bytes; times are <c>hours:minutes:seconds</c>.
    /// </param>
    /// <returns><paramref name="builder"/>.</returns>
    /// <remarks>It works with Native AOT, because it uses no reflection.</remarks>
    public static IBoxerBuilder Configure(this IBoxerBuilder builder, IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(configuration);
        var binder = new BoxerConfiguration(configuration, builder.Name);
        builder.Services.AddSingleton<IConfigureOptions<BoxerOptions>>(binder);
        builder.Services.AddSingleton<IValidateOptions<BoxerOptions>>(binder);
        builder.Services.AddSingleton<IOptionsChangeTokenSource<BoxerOptions>>(new ConfigurationChangeTokenSource<BoxerOptions>(builder.Name, configuration));
        return builder;
    }

    /// <summary>Adds a network mode that requests to this runner can use. The container creates it, and disposes it after the runner.</summary>
    /// <typeparam name="T">
    /// The mode. The container provides the services of its constructor. A mode of a named runner can get the name with
    /// <see cref="ServiceKeyAttribute"/>.
    /// </typeparam>
    /// <param name="builder">The builder of the runner.</param>
    /// <returns><paramref name="builder"/>.</returns>
    /// <remarks>
    /// A further call with the same type has no effect. If two modes have the same <see cref="INetworkMode.Name"/>, the later one is used, so that Boxer's
    /// own modes can be replaced.
    /// </remarks>
    public static IBoxerBuilder AddNetworkMode<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] T>(this IBoxerBuilder builder)
        where T : class, INetworkMode
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.TryAddEnumerable(new ServiceDescriptor(typeof(INetworkMode), Key(builder), typeof(T), ServiceLifetime.Singleton));
        return builder;
    }

    /// <summary>Adds a network mode that requests to this runner can use. The container disposes it after the runner.</summary>
    /// <param name="builder">The builder of the runner.</param>
    /// <param name="factory">Creates the mode; called once for each container.</param>
    /// <returns><paramref name="builder"/>.</returns>
    /// <remarks>Each call adds a mode. If two modes have the same <see cref="INetworkMode.Name"/>, the later one is used.</remarks>
    public static IBoxerBuilder AddNetworkMode(this IBoxerBuilder builder, Func<IServiceProvider, INetworkMode> factory)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(factory);
        builder.Services.Add(new ServiceDescriptor(typeof(INetworkMode), Key(builder), (provider, _) => factory(provider), ServiceLifetime.Singleton));
        return builder;
    }

    /// <summary>Adds a network mode that requests to this runner can use. The caller disposes it, after the container.</summary>
    /// <param name="builder">The builder of the runner.</param>
    /// <param name="mode">The mode.</param>
    /// <returns><paramref name="builder"/>.</returns>
    /// <remarks>Each call adds a mode. If two modes have the same <see cref="INetworkMode.Name"/>, the later one is used.</remarks>
    public static IBoxerBuilder AddNetworkMode(this IBoxerBuilder builder, INetworkMode mode)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(mode);
        builder.Services.Add(new ServiceDescriptor(typeof(INetworkMode), Key(builder), mode));
        return builder;
    }

    /// <summary>Replaces the image store of this runner. The container creates it, and disposes it after the runner.</summary>
    /// <typeparam name="T">
    /// The store. The container provides the services of its constructor. A store of a named runner can get the name with
    /// <see cref="ServiceKeyAttribute"/>.
    /// </typeparam>
    /// <param name="builder">The builder of the runner.</param>
    /// <returns><paramref name="builder"/>.</returns>
    /// <remarks>The last call takes effect. Options for images (<see cref="BoxerOptions.MaxImageStoreBytes"/>, registries and so on) have no effect then.</remarks>
    public static IBoxerBuilder UseImageStore<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] T>(this IBoxerBuilder builder)
        where T : class, IImageStore
    {
        ArgumentNullException.ThrowIfNull(builder);
        return Use(builder, new ServiceDescriptor(typeof(IImageStore), Key(builder), typeof(T), ServiceLifetime.Singleton));
    }

    /// <summary>Replaces the image store of this runner. The container disposes it after the runner.</summary>
    /// <param name="builder">The builder of the runner.</param>
    /// <param name="factory">Creates the store; called once for each container.</param>
    /// <returns><paramref name="builder"/>.</returns>
    /// <remarks>The last call takes effect.</remarks>
    public static IBoxerBuilder UseImageStore(this IBoxerBuilder builder, Func<IServiceProvider, IImageStore> factory)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(factory);
        return Use(builder, new ServiceDescriptor(typeof(IImageStore), Key(builder), (provider, _) => factory(provider), ServiceLifetime.Singleton));
    }

    /// <summary>Replaces the image store of this runner. The caller disposes it, after the container.</summary>
    /// <param name="builder">The builder of the runner.</param>
    /// <param name="store">The store.</param>
    /// <returns><paramref name="builder"/>.</returns>
    /// <remarks>The last call takes effect.</remarks>
    public static IBoxerBuilder UseImageStore(this IBoxerBuilder builder, IImageStore store)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(store);
        return Use(builder, new ServiceDescriptor(typeof(IImageStore), Key(builder), store));
    }

    private static IBoxerBuilder Use(IBoxerBuilder builder, ServiceDescriptor store)
    {
        object? key = Key(builder);
        foreach (ServiceDescriptor other in builder.Services.Where(service => service.ServiceType == typeof(IImageStore) && Equals(service.ServiceKey, key)).ToList())
        {
            builder.Services.Remove(other);
        }

        builder.Services.Add(store);
        return builder;
    }

    // The services of the default runner have no key.
    private static string? Key(IBoxerBuilder builder) => builder.Name.Length == 0 ? null : builder.Name;
}
