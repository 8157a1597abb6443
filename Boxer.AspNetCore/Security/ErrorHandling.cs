namespace Boxer.AspNetCore.Security;

/// <summary>Turns exceptions into answers, and bare statuses such as 404 of an unknown path into bodies; the outermost middleware.</summary>
internal sealed class ErrorHandling(ErrorResponses answers)
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
#pragma warning disable CA1031 // Whatever it is, the client gets an answer and the log the reason.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            ApiResponse? answer = answers.For(exception, context);
            if (answer is null || context.Response.HasStarted)
            {
                context.Abort();
                return;
            }

            await answer.WriteAsync(context);
        }
    }

    private static string Describe(HttpContext context) =>
        context.Response.StatusCode switch
        {
            StatusCodes.Status404NotFound => "there is nothing at this path; /openapi/v1.json lists what there is.",
            StatusCodes.Status405MethodNotAllowed => $"this path does not take {context.Request.Method}; /openapi/v1.json lists what it takes.",
            _ => "the request was refused.",
        };
}
