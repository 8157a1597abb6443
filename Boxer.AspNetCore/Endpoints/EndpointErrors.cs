
namespace Boxer.AspNetCore.Endpoints;

/// <summary>Describes statuses that are answered with an <see cref="ErrorBody"/>.</summary>
internal static class EndpointErrors
{
    public static RouteHandlerBuilder ProducesErrors(this RouteHandlerBuilder route, params int[] statuses)
    {
        foreach (int status in statuses)
        {
            route.Produces<ErrorBody>(status);
        }

        return route;
    }
}
