namespace Boxer.AspNetCore.Endpoints;

/// <summary>
/// POST /run/stream: server-sent events <c>started</c>, <c>stdout</c>, <c>stderr</c> and <c>end</c>. Errors before the command starts have the
/// status and body of POST /run. Later errors are reported in the <c>end</c> event.
/// </summary>
internal static class RunStreamEndpoint
{
    public static void MapRunStream(this IEndpointRouteBuilder routes) =>
        routes.MapPost("/run/stream", (Delegate)StreamAsync)
            .WithOperationId("runStream")
            .WithTags("Runs")
            .WithSummary("Runs a command in a sandbox and streams its output.")
            .WithDescription(
                "Server-sent events: started (RunStarted), stdout and stderr (RunText), and end (RunEnd: the body of POST /run and its status). "
                + "The schema of each event is in x-events of the media type. Errors before the command starts have the status and body of POST /run.")
            // The body is parsed as JSON whatever its Content-Type: some clients send none.
            .Accepts<RunRequestBody>("application/json", "*/*")
            .Produces<string>(contentType: "text/event-stream")
            .ProducesErrors(401, 403, 404, 413, 421, 429, 502)
            .ProducesRunErrors(400, 500, 503);

    private static async Task StreamAsync(HttpContext context)
    {
        using PreparedRun run = await context.RequestServices.GetRequiredService<RunPreparation>().PrepareAsync(context);
        await CommandAnswers.StreamAsync(context, run);
    }
}
