namespace Boxer.AspNetCore.Security;

/// <summary>Outermost middleware: maps exceptions to responses, and adds a body to statuses without one, such as 404 for an unknown path.</summary>
internal sealed class ErrorHandling(ErrorResponses errors)
{
    public async Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        context.Response.Headers.XContentTypeOptions = "nosniff";
        try
        {
            await next(context);
            if (context.Response is { HasStarted: false, StatusCode: >= 400, ContentType: null, ContentLength: null })
            {
                await ApiResponse.Failed(context.Response.StatusCode, Describe(context)).WriteAsync(context);
            }
        }
#pragma warning disable CA1031 // Every exception needs a response; the log has the reason.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            ApiResponse? response = errors.For(exception, context);
            if (response is null || context.Response.HasStarted)
            {
                context.Abort();
                return;
            }

            await response.WriteAsync(context);
        }
    }

    private static string Describe(HttpContext context) =>
        context.Response.StatusCode switch
        {
            StatusCodes.Status404NotFound => "this path does not exist; /openapi/v1.json lists the endpoints.",
            StatusCodes.Status405MethodNotAllowed => $"this path does not support {context.Request.Method}; /openapi/v1.json lists its methods.",
            _ => "the request was refused.",
        };
}
