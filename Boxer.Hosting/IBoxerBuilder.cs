using Microsoft.Extensions.DependencyInjection;

namespace Boxer.Hosting;

/// <summary>
/// Configures one runner of a container. <see cref="BoxerServiceCollectionExtensions.AddBoxer(IServiceCollection)"/> returns it; its methods are
/// in <see cref="BoxerBuilderExtensions"/>.
/// </summary>
public interface IBoxerBuilder
{
    /// <summary>
    /// Name of the runner, which is the key of its services and the name of its options. Empty
    /// (<see cref="Microsoft.Extensions.Options.Options.DefaultName"/>) for the default runner, whose services have no key.
    /// </summary>
    string Name { get; }

    /// <summary>The container's services.</summary>
    IServiceCollection Services { get; }
}
