using Boxer.AspNetCore.Endpoints;

namespace Boxer.AspNetCore.Sessions;

/// <summary>POST /sessions/{id}/exec and /sessions/{id}/exec/stream.</summary>
internal static class ExecEndpoint
{
    public static void MapExec(this IEndpointRouteBuilder routes)
    {
        routes.MapPost("/sessions/{id}/exec", (Delegate)ExecAsync)
            .WithOperationId("exec")
            .WithTags(SessionsEndpoint.Tag)
            .WithSummary("Runs a command in a session and returns its result.")
            .Accepts<ExecRequestBody>("application/json", "*/*")
            .Produces<RunResponseBody>()
            .ProducesSessionErrors(401, 403, 404, 413, 421)
            .ProducesRunErrors(400, 408, 409, 410, 429, 500, 503, 507);
        routes.MapPost("/sessions/{id}/exec/stream", (Delegate)StreamAsync)
            .WithOperationId("execStream")
            .WithTags(SessionsEndpoint.Tag)
            .WithSummary("Runs a command in a session and streams its output.")
            .WithDescription(
                "Server-sent events: started (RunStarted), stdout and stderr (RunText), and end (RunEnd: the body of POST /sessions/{id}/exec and its status). "
                + "The schema of each event is in x-events of the media type. Errors before the command starts have the status and body of POST /sessions/{id}/exec.")
            .Accepts<ExecRequestBody>("application/json", "*/*")
            .Produces<string>(contentType: "text/event-stream")
            .ProducesSessionErrors(401, 403, 404, 413, 421)
            .ProducesRunErrors(400, 409, 410, 429, 500, 503);
    }

    private static async Task ExecAsync(HttpContext context)
    {
        using PreparedExec exec = await context.RequestServices.GetRequiredService<CommandPreparation>().PrepareExecAsync(context);
        await CommandAnswers.AnswerAsync(context, exec);
    }

    private static async Task StreamAsync(HttpContext context)
    {
        using PreparedExec exec = await context.RequestServices.GetRequiredService<CommandPreparation>().PrepareExecAsync(context);
        await CommandAnswers.StreamAsync(context, exec);
    }
}
