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

/// <summary>Configures a runner of a container.</summary>
public static class BoxerBuilderExtensions
{
    /// <summary>Adds options set in code. Calls take effect in their order, together with those that read configuration.</summary>
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

    /// <summary>Adds options from a configuration section.</summary>
    /// <param name="builder">The builder of the runner.</param>
    /// <param name="configuration">
    /// The section, for example <c>configuration.GetSection("Boxer")</c>. Its keys are the properties of <see cref="BoxerOptions"/>. A key that is no
    /// option is a fault; a list replaces the one that was there; sizes are bytes, times are <c>hours:minutes:seconds</c>.
    /// </param>
    /// <returns><paramref name="builder"/>.</returns>
    /// <remarks>Native AOT can be used: no reflection takes part.</remarks>
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

    /// <summary>Adds a network mode that requests of this runner can name. The container makes it and disposes it after the runner.</summary>
    /// <typeparam name="T">
    /// The mode. Services of its constructor come out of the container; a mode of a named runner can ask for its name with
    /// <see cref="ServiceKeyAttribute"/>.
    /// </typeparam>
    /// <param name="builder">The builder of the runner.</param>
    /// <returns><paramref name="builder"/>.</returns>
    /// <remarks>
    /// A further call with the same type changes nothing. Of two modes with one <see cref="INetworkMode.Name"/>, the later one is used, so that
    /// Boxer's own modes can be replaced.
    /// </remarks>
    public static IBoxerBuilder AddNetworkMode<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] T>(this IBoxerBuilder builder)
        where T : class, INetworkMode
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.TryAddEnumerable(new ServiceDescriptor(typeof(INetworkMode), Key(builder), typeof(T), ServiceLifetime.Singleton));
        return builder;
    }

    /// <summary>Adds a network mode that requests of this runner can name. The container disposes it after the runner.</summary>
    /// <param name="builder">The builder of the runner.</param>
    /// <param name="factory">Makes the mode, once for each container.</param>
    /// <returns><paramref name="builder"/>.</returns>
    /// <remarks>Each call adds a mode. Of two modes with one <see cref="INetworkMode.Name"/>, the later one is used.</remarks>
    public static IBoxerBuilder AddNetworkMode(this IBoxerBuilder builder, Func<IServiceProvider, INetworkMode> factory)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(factory);
        builder.Services.Add(new ServiceDescriptor(typeof(INetworkMode), Key(builder), (provider, _) => factory(provider), ServiceLifetime.Singleton));
        return builder;
    }

    /// <summary>Adds a network mode that requests of this runner can name. The caller disposes it, after the container.</summary>
    /// <param name="builder">The builder of the runner.</param>
    /// <param name="mode">The mode.</param>
    /// <returns><paramref name="builder"/>.</returns>
    /// <remarks>Each call adds a mode. Of two modes with one <see cref="INetworkMode.Name"/>, the later one is used.</remarks>
    public static IBoxerBuilder AddNetworkMode(this IBoxerBuilder builder, INetworkMode mode)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(mode);
        builder.Services.Add(new ServiceDescriptor(typeof(INetworkMode), Key(builder), mode));
        return builder;
    }

    /// <summary>Replaces the image store of this runner. The container makes it and disposes it after the runner.</summary>
    /// <typeparam name="T">
    /// The store. Services of its constructor come out of the container; a store of a named runner can ask for its name with
    /// <see cref="ServiceKeyAttribute"/>.
    /// </typeparam>
    /// <param name="builder">The builder of the runner.</param>
    /// <returns><paramref name="builder"/>.</returns>
    /// <remarks>The last call counts. Options of images (<see cref="BoxerOptions.MaxImageStoreBytes"/>, registries and so on) are not used then.</remarks>
    public static IBoxerBuilder UseImageStore<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] T>(this IBoxerBuilder builder)
        where T : class, IImageStore
    {
        ArgumentNullException.ThrowIfNull(builder);
        return Use(builder, new ServiceDescriptor(typeof(IImageStore), Key(builder), typeof(T), ServiceLifetime.Singleton));
    }

    /// <summary>Replaces the image store of this runner. The container disposes it after the runner.</summary>
    /// <param name="builder">The builder of the runner.</param>
    /// <param name="factory">Makes the store, once for each container.</param>
    /// <returns><paramref name="builder"/>.</returns>
    /// <remarks>The last call counts.</remarks>
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
    /// <remarks>The last call counts.</remarks>
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

    // The services of the runner without a name have no key.
    private static string? Key(IBoxerBuilder builder) => builder.Name.Length == 0 ? null : builder.Name;
}
