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
        IServiceProvider services = context.RequestServices;
        ISandboxRunner runner = services.GetRequiredService<ISandboxRunner>();
        using PreparedRun run = await services.GetRequiredService<RunPreparation>().PrepareAsync(context);
        try
        {
            await foreach (SandboxEvent item in run.StreamAsync(runner))
            {
                if (item is SandboxEnded { Result: var result })
                {
                    using IDisposable reservation = services.GetRequiredService<ResponseBudget>().Reserve(context, RunResponses.BytesOf(result));
                    await run.Complete(result).WriteAsync(context);
                }
            }
        }
        catch (Exception exception) when (run.IsRunning && services.GetRequiredService<ErrorResponses>().For(exception, context) is { } response)
        {
            await run.AddOutputTo(response).WriteAsync(context);
        }
    }
}
