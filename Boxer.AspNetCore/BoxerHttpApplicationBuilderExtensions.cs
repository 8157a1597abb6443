using Boxer.AspNetCore;
using Boxer.AspNetCore.Description;
using Boxer.AspNetCore.Endpoints;

namespace Microsoft.AspNetCore.Builder;

/// <summary>Puts the HTTP facade of Boxer into an application.</summary>
public static class BoxerHttpApplicationBuilderExtensions
{
    /// <summary>
    /// Maps the endpoints below a prefix: runs, files, health and <c>openapi/v1.json</c>. Where <see cref="BoxerHttpOptions.ApiKeys"/> has keys, they require the
    /// policy <see cref="BoxerHttpDefaults.AuthorizationPolicy"/>, else what the application requires of its endpoints: its fallback policy, if it has one.
    /// <c>healthz</c> requires nothing. All of them refuse requests of other sites' web pages.
    /// </summary>
    /// <param name="endpoints">The application's routes.</param>
    /// <param name="prefix">A path such as <c>/</c> or <c>/sandboxes</c>.</param>
    /// <returns>A builder of conventions for all of the endpoints, for example more authorization, names or rate limits.</returns>
    /// <exception cref="InvalidOperationException"><c>AddBoxerHttp</c> was not called.</exception>
    public static IEndpointConventionBuilder MapBoxer(this IEndpointRouteBuilder endpoints, string prefix = "/")
    {
        ArgumentNullException.ThrowIfNull(endpoints);
        ArgumentNullException.ThrowIfNull(prefix);
        IServiceProvider services = endpoints.ServiceProvider;
        BoxerHttpRoutes routes = services.GetService<BoxerHttpRoutes>()
            ?? throw new InvalidOperationException("MapBoxer needs services; call builder.Services.AddBoxerHttp() first.");
        string path = "/" + prefix.Trim('/');
        RouteGroupBuilder group = endpoints.MapGroup(path);
        routes.AddHealth(new PathString(path == "/" ? "/healthz" : path + "/healthz"));
        group.WithGroupName(BoxerHttpDefaults.DocumentName).WithMetadata(new OwnRequestSizeLimit());

        // A policy that lets everybody in would take the place of the application's fallback policy, and its scheme that of the default one.
        if (services.GetRequiredService<ApiKeys>().AreRequired)
        {
            group.RequireAuthorization(BoxerHttpDefaults.AuthorizationPolicy);
        }

        group.MapRun();
        group.MapRunStream();
        group.MapFiles();
        group.MapHealth();
        group.MapApiDescription();
        RequestGuard guard = services.GetRequiredService<RequestGuard>();
        ((IEndpointConventionBuilder)group).Finally(endpoint =>
        {
            if (endpoint.RequestDelegate is { } handle)
            {
                endpoint.RequestDelegate = context => guard.GuardEndpointAsync(context, handle);
            }
        });
        return group;
    }

    /// <summary>
    /// Guards everything that the application answers as <see cref="MapBoxer"/> guards its own endpoints, unknown paths and endpoints of other packages
    /// too: a key where there are any, no requests of other sites' web pages, and errors as JSON. For applications that are nothing but the facade.
    /// Call it before other middleware.
    /// </summary>
    /// <param name="app">The application.</param>
    /// <returns><paramref name="app"/>.</returns>
    public static IApplicationBuilder UseBoxerHttp(this IApplicationBuilder app)
    {
        ArgumentNullException.ThrowIfNull(app);
        RequestGuard guard = app.ApplicationServices.GetService<RequestGuard>()
            ?? throw new InvalidOperationException("UseBoxerHttp needs services; call builder.Services.AddBoxerHttp() first.");
        return app.Use((context, next) => guard.GuardApplicationAsync(context, next));
    }
}
