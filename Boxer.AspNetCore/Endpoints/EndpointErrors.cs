namespace Boxer.AspNetCore.Endpoints;

/// <summary>Describes the error statuses of endpoints.</summary>
internal static class EndpointErrors
{
    /// <summary>Adds errors with a message only.</summary>
    public static RouteHandlerBuilder ProducesErrors(this RouteHandlerBuilder route, params int[] statuses) => route.Produces<ErrorBody>(statuses);

    /// <summary>Adds errors of requests to sessions.</summary>
    public static RouteHandlerBuilder ProducesSessionErrors(this RouteHandlerBuilder route, params int[] statuses) => route.Produces<SessionErrorBody>(statuses);

    /// <summary>Adds errors that include the output of the run, if it ran.</summary>
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
