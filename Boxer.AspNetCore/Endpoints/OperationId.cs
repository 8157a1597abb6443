namespace Boxer.AspNetCore.Endpoints;

/// <summary>The name of an operation in the OpenAPI document. Names of endpoints are the application's: two of one name, and it can make no link by any.</summary>
/// <param name="Name">The name.</param>
internal sealed record OperationId(string Name);

/// <summary>Names operations.</summary>
internal static class OperationIds
{
    /// <summary>Names the operation of a route.</summary>
    public static RouteHandlerBuilder WithOperationId(this RouteHandlerBuilder route, string name) => route.WithMetadata(new OperationId(name));
}
