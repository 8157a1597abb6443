namespace Boxer.AspNetCore.Endpoints;

/// <summary>Describes statuses that are answered with an error.</summary>
internal static class EndpointErrors
{
    /// <summary>Errors with a sentence only.</summary>
    public static RouteHandlerBuilder ProducesErrors(this RouteHandlerBuilder route, params int[] statuses) => route.Produces<ErrorBody>(statuses);

    /// <summary>Errors that have what the run printed, where it ran.</summary>
    public static RouteHandlerBuilder ProducesRunErrors(this RouteHandlerBuilder route, params int[] statuses) => route.Produces<RunErrorBody>(statuses);

    private static RouteHandlerBuilder Produces<TBody>(this RouteHandlerBuilder route, int[] statuses)
    {
        foreach (int status in statuses)
        {
            route.Produces<TBody>(status);
        }

        return route;
    }
}
