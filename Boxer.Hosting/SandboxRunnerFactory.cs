using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Boxer.Hosting;

/// <summary>Creates runners for applications that have no container.</summary>
public static class SandboxRunnerFactory
{
    /// <summary>Creates a runner with Boxer's own network modes. Disposing it also disposes its network modes and its image store.</summary>
    /// <param name="options">The options; they are copied. <see langword="null"/> for the defaults.</param>
    /// <param name="loggers">Creates loggers; <see langword="null"/> to log nothing.</param>
    /// <param name="configure">
    /// Adds network modes, another image store, services for them and further options:
    /// <c>SandboxRunnerFactory.Create(configure: boxer => boxer.AddNetworkMode&lt;MyMode&gt;())</c>. <see langword="null"/> to add nothing.
    /// </param>
    /// <returns>The runner. It does not change the machine before its first run or <see cref="SandboxRunner.StartAsync"/>.</returns>
    /// <exception cref="ArgumentException">The options are invalid; the message lists all faults.</exception>
    public static SandboxRunner Create(BoxerOptions? options = null, ILoggerFactory? loggers = null, Action<IBoxerBuilder>? configure = null)
    {
        BoxerOptions given = (options ?? new BoxerOptions()).Copy();
        var services = new ServiceCollection();
        if (loggers is not null)
        {
            services.AddSingleton(loggers);
        }

        services.AddSingleton<IOptionsFactory<BoxerOptions>>(provider => new GivenOptions(
            given,
            provider.GetServices<IConfigureOptions<BoxerOptions>>(),
            provider.GetServices<IPostConfigureOptions<BoxerOptions>>(),
            provider.GetServices<IValidateOptions<BoxerOptions>>()));
        var builder = new BoxerBuilder(services, Options.DefaultName);
        RunnerParts parts = builder.TryAddParts()!;
        configure?.Invoke(builder);
        ServiceProvider provider = services.BuildServiceProvider();
        try
        {
            return parts.CreateRunner(provider, provider);
        }
        catch (Exception exception)
        {
            provider.DisposeAsync().AsTask().GetAwaiter().GetResult();
            if (exception is OptionsValidationException faults)
            {
                throw new ArgumentException(string.Join(" ", faults.Failures), nameof(options), faults);
            }

            throw;
        }
    }

    /// <summary>Creates options as a copy of the caller's.</summary>
    private sealed class GivenOptions(
        BoxerOptions given,
        IEnumerable<IConfigureOptions<BoxerOptions>> setups,
        IEnumerable<IPostConfigureOptions<BoxerOptions>> postConfigures,
        IEnumerable<IValidateOptions<BoxerOptions>> validations) : OptionsFactory<BoxerOptions>(setups, postConfigures, validations)
    {
        protected override BoxerOptions CreateInstance(string name) => given.Copy();
    }
}
