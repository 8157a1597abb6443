namespace Boxer.AspNetCore.Endpoints;

/// <summary>
/// POST /run/stream: server-sent events <c>started</c>, <c>stdout</c>, <c>stderr</c> and <c>end</c>. Errors before the command starts have the
/// status and body of POST /run. Later errors are reported in the <c>end</c> event.
/// </summary>
internal static class RunStreamEndpoint
{
    private static readonly TimeSpan KeepAliveInterval = TimeSpan.FromSeconds(15);

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
        IServiceProvider services = context.RequestServices;
        ISandboxRunner runner = services.GetRequiredService<ISandboxRunner>();
        using PreparedRun run = await services.GetRequiredService<RunPreparation>().PrepareAsync(context);
        await using IAsyncEnumerator<SandboxEvent> events = run.StreamAsync(runner).DecodeText().GetAsyncEnumerator();
        RunEventWriter writer = new(context.Response, context.RequestAborted);
        try
        {
            while (await NextAsync(events, writer, services.GetRequiredService<TimeProvider>()))
            {
                // The response starts only when the pull is over, because a failed pull has a status of its own.
                if (events.Current is SandboxImagePulling)
                {
                    continue;
                }

                if (events.Current is SandboxEnded { Result: var result })
                {
                    using IDisposable reservation = services.GetRequiredService<ResponseBudget>().Reserve(context, RunResponses.BytesOf(result));
                    ApiResponse response = run.Complete(result);
                    await (writer.HasStarted ? writer.EndAsync(response) : response.WriteAsync(context));
                    return;
                }

                await writer.WriteAsync(events.Current);
            }
        }
        catch (Exception exception) when (writer.HasStarted
            && services.GetRequiredService<ErrorResponses>().For(exception, context) is { } response)
        {
            await writer.EndAsync(run.AddOutputTo(response));
        }
    }

    /// <summary>Waits for the next event. Sends comments in the meantime, so that proxies keep the connection open.</summary>
    private static async Task<bool> NextAsync(IAsyncEnumerator<SandboxEvent> events, RunEventWriter writer, TimeProvider time)
    {
        Task<bool> next = events.MoveNextAsync().AsTask();
        while (writer.HasStarted && !next.IsCompleted)
        {
            using CancellationTokenSource stop = new();
            Task wait = Task.Delay(KeepAliveInterval, time, stop.Token);
            if (await Task.WhenAny(next, wait) == wait)
            {
                try
                {
                    await writer.KeepAliveAsync();
                }
                catch
                {
                    // The client has disconnected, which ends the run. The enumerator can be disposed only after its pending call.
                    await next.ContinueWith(_ => { }, TaskScheduler.Default);
                    throw;
                }
            }

            await stop.CancelAsync();
        }

        return await next;
    }
}
