using Boxer.AspNetCore.Endpoints;
using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Sessions;

/// <summary>Maps the endpoints of sessions, and describes them.</summary>
internal static class SessionRoutes
{
    /// <summary>Whether the application has sessions, and clients may use them.</summary>
    public static bool AreAvailable(IServiceProvider services) =>
        services.GetRequiredService<IOptions<BoxerHttpOptions>>().Value.AllowSessions
        && services.GetService<IServiceProviderIsService>() is { } registered && registered.IsService(typeof(ISandboxSessions));

    /// <summary>Maps all endpoints of sessions.</summary>
    public static void MapAllOfSessions(this IEndpointRouteBuilder routes)
    {
        routes.MapSessions();
        routes.MapExec();
        routes.MapProcesses();
        routes.MapProcessInput();
        routes.MapProcessEvents();
        routes.MapPorts();
        routes.MapSessionFiles();
        routes.MapFileWatch();
    }

    /// <summary>Describes a request to a session, with the errors of all of them.</summary>
    public static RouteHandlerBuilder Describe(this RouteHandlerBuilder route, string name, string tag, string summary) => route
        .WithOperationId(name)
        .WithTags(tag)
        .WithSummary(summary)
        .ProducesSessionErrors(401, 403, 404, 410, 421, 500, 503);
}
