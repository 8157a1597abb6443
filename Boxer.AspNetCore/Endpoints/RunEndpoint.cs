namespace Boxer.AspNetCore.Endpoints;

/// <summary>POST /run.</summary>
internal static class RunEndpoint
{
    public static void MapRun(this IEndpointRouteBuilder routes) =>
        routes.MapPost("/run", (Delegate)RunAsync)
            .WithOperationId("run")
            .WithTags("Runs")
            .WithSummary("Runs a command in a sandbox and returns its result.")
            // The body is parsed as JSON whatever its Content-Type: some clients send none.
            .Accepts<RunRequestBody>("application/json", "*/*")
            .Produces<RunResponseBody>()
            .ProducesErrors(401, 403, 404, 413, 421, 429, 502)
            .ProducesRunErrors(400, 408, 500, 503, 507);

    private static async Task RunAsync(HttpContext context)
    {
        using PreparedRun run = await context.RequestServices.GetRequiredService<RunPreparation>().PrepareAsync(context);
        await CommandAnswers.AnswerAsync(context, run);
    }
}
