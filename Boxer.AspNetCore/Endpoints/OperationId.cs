namespace Boxer.AspNetCore.Endpoints;

/// <summary>The identifier of an operation in the OpenAPI document. Endpoint names would serve too, but they must be unique in the application, which may have its own.</summary>
/// <param name="Name">The identifier.</param>
internal sealed record OperationId(string Name);

/// <summary>Sets identifiers of operations.</summary>
internal static class OperationIds
{
    /// <summary>Sets the identifier of a route's operation.</summary>
    public static RouteHandlerBuilder WithOperationId(this RouteHandlerBuilder route, string name) => route.WithMetadata(new OperationId(name));
}
