using Boxer.Images;
using Boxer.Machine;
using Boxer.Network;
using Boxer.Networking;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace Boxer.Hosting;

/// <summary>Registers the services of one runner. The services of a named runner have its name as their key; those of the default runner have no key.</summary>
internal sealed class BoxerBuilder(IServiceCollection services, string name) : IBoxerBuilder
{
    public string Name { get; } = name;

    public IServiceCollection Services { get; } = services;

    /// <summary>The key of this runner's services; <see langword="null"/> for the default runner.</summary>
    internal object? Key => Name.Length == 0 ? null : Name;

    /// <summary>Registers options, their validation, network modes and the image store, once for each name.</summary>
    /// <returns>The parts; <see langword="null"/> if the name is registered already.</returns>
    internal RunnerParts? TryAddParts()
    {
        if (Services.Any(service => service.ImplementationInstance is RunnerParts parts && parts.Name == Name))
        {
            return null;
        }

        var parts = new RunnerParts(Name);
        Services.AddOptions();
        Services.AddLogging();
        Services.AddSingleton(parts);
        if (Key is not null)
        {
            Services.AddKeyedSingleton(Key, (provider, _) => new RunnerParts.NamedOptions(provider.GetRequiredService<IOptionsFactory<BoxerOptions>>(), Name));
        }

        Services.AddSingleton<IValidateOptions<BoxerOptions>>(provider => new BoxerOptionsValidator(parts, provider));
        Add<INetworkMode>(_ => new NoneNetworkMode());
        Add<INetworkMode>(_ => new HostNetworkMode());

        // The mode reads the options lazily, because their validation resolves the modes.
        Add<INetworkMode>(provider => new SandboxNetworkMode(() => parts.GetOptions(provider), provider.GetService<TimeProvider>()));
        Services.TryAdd(Describe<IImageStore>(provider => new RunnerImages(
            parts.GetOptions(provider).Copy(), provider.GetService<ILoggerFactory>() ?? NullLoggerFactory.Instance, provider.GetService<TimeProvider>() ?? TimeProvider.System)));
        return parts;
    }

    private void Add<T>(Func<IServiceProvider, T> factory)
        where T : class =>
        Services.Add(Describe(factory));

    internal ServiceDescriptor Describe<T>(Func<IServiceProvider, T> factory)
        where T : class =>
        new(typeof(T), Key, (provider, _) => factory(provider), ServiceLifetime.Singleton);
}

/// <summary>Holds the runner that the container created, which a decorator may hide behind <see cref="ISandboxRunner"/>.</summary>
internal sealed class LocalRunner
{
    internal SandboxRunner? Runner { get; set; }
}

/// <summary>Resolves the services of one runner.</summary>
internal sealed record RunnerParts(string Name)
{
    /// <summary>Gets the options of the runner. They are created once and do not change later.</summary>
    internal BoxerOptions GetOptions(IServiceProvider provider) =>
        Name.Length == 0 ? provider.GetRequiredService<IOptions<BoxerOptions>>().Value : provider.GetRequiredKeyedService<NamedOptions>(Name).Value;

    internal IEnumerable<INetworkMode> GetNetworkModes(IServiceProvider provider) =>
        Name.Length == 0 ? provider.GetServices<INetworkMode>() : provider.GetKeyedServices<INetworkMode>(Name);

    internal T GetService<T>(IServiceProvider provider)
        where T : class =>
        Name.Length == 0 ? provider.GetRequiredService<T>() : provider.GetRequiredKeyedService<T>(Name);

    internal LocalRunner GetLocalRunner(IServiceProvider provider) => GetService<LocalRunner>(provider);

    /// <summary>Finds Boxer's own runner: the application's <see cref="ISandboxRunner"/>, or the runner that it wraps.</summary>
    /// <returns>The runner; <see langword="null"/> if the application uses another implementation, such as a fake.</returns>
    internal SandboxRunner? FindRunner(IServiceProvider provider) =>
        GetService<ISandboxRunner>(provider) as SandboxRunner ?? GetLocalRunner(provider).Runner;

    /// <summary>Gets the sessions of the runner: those of Boxer's own runner, also if a decorator or a fake replaces <see cref="ISandboxRunner"/>.</summary>
    internal ISandboxSessions GetSessions(IServiceProvider provider) =>
        FindRunner(provider) is { } runner && runner != GetLocalRunner(provider).Runner ? new OwnedElsewhere(runner) : GetService<SandboxRunner>(provider);

    internal SandboxRunner CreateRunner(IServiceProvider provider, IAsyncDisposable? owned = null) => new(
        GetOptions(provider),
        GetNetworkModes(provider),
        GetService<IImageStore>(provider),
        provider.GetService<ILoggerFactory>(),
        provider.GetService<TimeProvider>())
    {
        Owned = owned,
        Name = Name.Length == 0 ? null : Name,
    };

    /// <summary>The sessions of a runner that the application created. The container must not dispose it.</summary>
    private sealed class OwnedElsewhere(SandboxRunner runner) : ISandboxSessions
    {
        public Task<IOwnedSandboxSession> OpenAsync(SandboxSessionRequest request, CancellationToken cancellationToken = default) => runner.OpenAsync(request, cancellationToken);

        public ValueTask<ISandboxSession?> FindAsync(string id, CancellationToken cancellationToken = default) => runner.FindAsync(id, cancellationToken);

        public ValueTask<IReadOnlyList<ISandboxSession>> ListAsync(string? fairnessKey = null, CancellationToken cancellationToken = default) =>
            runner.ListAsync(fairnessKey, cancellationToken);
    }

    /// <summary>The counterpart of <see cref="IOptions{TOptions}"/> for named options.</summary>
    internal sealed class NamedOptions(IOptionsFactory<BoxerOptions> factory, string name)
    {
        private readonly Lazy<BoxerOptions> _value = new(() => factory.Create(name));

        internal BoxerOptions Value => _value.Value;
    }
}
