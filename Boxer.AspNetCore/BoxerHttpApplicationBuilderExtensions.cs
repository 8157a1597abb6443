using Boxer.AspNetCore;
using Boxer.AspNetCore.Description;
using Boxer.AspNetCore.Endpoints;

namespace Microsoft.AspNetCore.Builder;

/// <summary>Adds the HTTP facade of Boxer to an application.</summary>
public static class BoxerHttpApplicationBuilderExtensions
{
    /// <summary>
    /// Maps the endpoints below a prefix: runs, files, sessions (if an <see cref="Boxer.ISandboxSessions"/> is registered), health and
    /// <c>openapi/v1.json</c>. If <see cref="BoxerHttpOptions.ApiKeys"/> is set, the endpoints require the policy <see cref="BoxerHttpDefaults.AuthorizationPolicy"/>; otherwise they require the application's fallback policy, if it has one.
    /// <c>healthz</c> allows anonymous access. All endpoints reject requests from web pages of other sites.
    /// </summary>
    /// <param name="endpoints">The route builder of the application.</param>
    /// <param name="prefix">A path such as <c>/</c> or <c>/sandboxes</c>.</param>
    /// <returns>A convention builder for all endpoints, for example to add authorization or rate limits.</returns>
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

        // Without keys no policy is set: a policy that allows everyone would override the application's fallback policy.
        if (services.GetRequiredService<ApiKeys>().AreRequired)
        {
            group.RequireAuthorization(BoxerHttpDefaults.AuthorizationPolicy);
        }

        group.MapRun();
        group.MapRunStream();
        group.MapFiles();

        // An application's own runner may have no sessions.
        if (SessionRoutes.AreAvailable(services))
        {
            group.MapAllOfSessions();
        }

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
    /// Protects the whole application as <see cref="MapBoxer"/> protects its own endpoints, including unknown paths and endpoints of other packages: API
    /// keys are required if any are set, requests from web pages of other sites are rejected, and errors are JSON. Use it in applications that only
    /// host the facade. Call it before other middleware.
    /// </summary>
    /// <param name="app">The application.</param>
    /// <returns><paramref name="app"/>.</returns>
    /// <exception cref="InvalidOperationException"><c>AddBoxerHttp</c> was not called.</exception>
    public static IApplicationBuilder UseBoxerHttp(this IApplicationBuilder app)
    {
        ArgumentNullException.ThrowIfNull(app);
        RequestGuard guard = app.ApplicationServices.GetService<RequestGuard>()
            ?? throw new InvalidOperationException("UseBoxerHttp needs services; call builder.Services.AddBoxerHttp() first.");
        return app.Use((context, next) => guard.GuardApplicationAsync(context, next));
    }
}
