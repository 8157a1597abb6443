using Boxer;
using Boxer.AspNetCore;
using Boxer.AspNetCore.Description;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authorization;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Registers the HTTP facade of Boxer in a container.</summary>
public static class BoxerHttpServiceCollectionExtensions
{
    /// <summary>
    /// Registers the services of <c>MapBoxer</c>: options, the authentication scheme and policy of <see cref="BoxerHttpDefaults"/>, the file store and
    /// the OpenAPI document. Register the runner separately, with <c>AddBoxer</c> or as another <see cref="ISandboxRunner"/>. Further calls only add
    /// to the options.
    /// </summary>
    /// <param name="services">The container's services.</param>
    /// <param name="configure">Sets options; <see langword="null"/> for the defaults.</param>
    /// <returns><paramref name="services"/>.</returns>
    /// <remarks>The options are validated when the host starts. Invalid options throw an <see cref="OptionsValidationException"/> that lists all faults.</remarks>
    public static IServiceCollection AddBoxerHttp(this IServiceCollection services, Action<BoxerHttpOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        OptionsBuilder<BoxerHttpOptions> options = services.AddOptions<BoxerHttpOptions>();
        if (configure is not null)
        {
            options.Configure(configure);
        }

        if (services.Any(service => service.ServiceType == typeof(BoxerHttpRoutes)))
        {
            return services;
        }

        services.AddSingleton<BoxerHttpRoutes>();
        services.AddSingleton<IValidateOptions<BoxerHttpOptions>, BoxerHttpOptionsValidator>();
        services.AddOptions<BoxerOptions>();
        services.AddOptions<HostOptions>().PostConfigure<IOptions<BoxerHttpOptions>>((host, http) =>
        {
            TimeSpan needed = http.Value.StopGrace + GracefulShutdown.CleanUpTime;
            host.ShutdownTimeout = host.ShutdownTimeout < needed ? needed : host.ShutdownTimeout;
        });
        services.AddLogging();
        services.AddRouting();
        services.AddHealthChecks();
        services.AddAuthentication().AddScheme<AuthenticationSchemeOptions, KeyAuthenticationHandler>(BoxerHttpDefaults.AuthenticationScheme, configureOptions: null);
        services.AddAuthorizationBuilder().AddPolicy(
            BoxerHttpDefaults.AuthorizationPolicy,
            policy => policy.AddAuthenticationSchemes(BoxerHttpDefaults.AuthenticationScheme).AddRequirements(new KeyRequirement()));
        services.AddSingleton<IAuthorizationHandler, KeyRequirementHandler>();
        services.AddApiDescription();
        services.TryAddSingleton(TimeProvider.System);
        services.AddSingleton(OpenFileStore);
        services.AddSingleton<IHostedService, BoxerHttpStartupCheck>();
        services.AddSingleton<ApiKeys>();
        services.AddSingleton<AllowedNetworks>();
        services.AddSingleton<ErrorHandling>();
        services.AddSingleton<ErrorResponses>();
        services.AddSingleton<BrowserGuard>();
        services.AddSingleton<RequestGuard>();
        services.AddSingleton<GracefulShutdown>();
        services.AddSingleton<RunRequestLimiter>();
        services.AddSingleton<RequestBodyBudget>();
        services.AddSingleton<RequestBodies>();
        services.AddSingleton<ResponseBudget>();
        services.AddSingleton<StreamBudget>();
        services.AddSingleton<RunPreparation>();

        // An application's own runner may have no sessions: factories are not resolved when the container is validated.
        services.AddSingleton(provider => new SessionLookup(provider.GetRequiredService<ISandboxSessions>()));
        services.AddSingleton(provider => ActivatorUtilities.CreateInstance<SessionPreparation>(provider));
        services.AddSingleton<CommandPreparation>();
        services.AddSingleton<ProcessInputs>();
        return services;
    }

    private static FileStore OpenFileStore(IServiceProvider provider)
    {
        BoxerHttpOptions options = provider.GetRequiredService<IOptions<BoxerHttpOptions>>().Value;
        return FileStore.Open(
            options.FilesDirectory ?? Path.Combine(provider.GetRequiredService<IOptions<BoxerOptions>>().Value.Home, "files"),
            new FileStoreLimits { MaxBytes = options.MaxStoredBytes, MaxFiles = options.MaxStoredFiles });
    }
}
