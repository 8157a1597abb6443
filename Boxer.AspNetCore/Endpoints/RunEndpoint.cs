
namespace Boxer.AspNetCore.Endpoints;

/// <summary>POST /run.</summary>
internal static class RunEndpoint
{
    public static void MapRun(this IEndpointRouteBuilder routes) =>
        routes.MapPost("/run", (Delegate)RunAsync)
            .WithOperationId("run")
            .WithTags("Runs")
            .WithSummary("Runs a command in a sandbox and returns what it left.")
            // Read as JSON whatever its Content-Type: clients that set none are served too.
            .Accepts<RunRequestBody>("application/json", "*/*")
            .Produces<RunResponseBody>()
            .ProducesErrors(401, 403, 404, 413, 421, 429, 502)
            .ProducesRunErrors(400, 408, 500, 503, 507);

    private static async Task RunAsync(HttpContext context)
    {
        IServiceProvider services = context.RequestServices;
        ISandboxRunner runner = services.GetRequiredService<ISandboxRunner>();
        using PreparedRun run = await services.GetRequiredService<RunPreparation>().PrepareAsync(context);
        PartialOutput progress = new();
        try
        {
            await foreach (SandboxEvent happened in runner.StreamAsync(run.Request, run.End))
            {
                progress.Note(happened);
                if (happened is SandboxStarted)
                {
                    run.MarkStarted();
                }
                else if (happened is SandboxEnded { Result: var result })
                {
                    using IDisposable room = services.GetRequiredService<ResponseBudget>().Enter(context, RunResponses.BytesOf(result));
                    await run.Complete(result).WriteAsync(context);
                }
            }
        }
        catch (Exception exception) when (progress.IsUnderWay && services.GetRequiredService<ErrorResponses>().For(exception, context) is { } answer)
        {
            await progress.AddTo(answer).WriteAsync(context);
        }
    }
}
