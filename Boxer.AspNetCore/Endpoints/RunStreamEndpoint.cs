using System.Text;
using System.Text.Json;

namespace Boxer.AspNetCore.Endpoints;

/// <summary>
/// POST /run/stream: server-sent events <c>started</c>, <c>stdout</c>, <c>stderr</c> and <c>end</c>. What goes wrong before the command
/// starts has the status and body of POST /run; later errors come in the <c>end</c> event.
/// </summary>
internal static class RunStreamEndpoint
{
    private static readonly TimeSpan KeepAlive = TimeSpan.FromSeconds(15);

    public static void MapRunStream(this IEndpointRouteBuilder routes) =>
        routes.MapPost("/run/stream", (Delegate)StreamAsync)
            .WithOperationId("runStream")
            .WithTags("Runs")
            .WithSummary("Runs a command in a sandbox and sends what it prints as it prints it.")
            .WithDescription(
                "Server-sent events: started (RunStarted), stdout and stderr (RunText), and end (RunEnd: the body of POST /run and its status). "
                + "The media type's x-events has the schema of each. Errors before the command starts are answered as by POST /run.")
            // Read as JSON whatever its Content-Type: clients that set none are served too.
            .Accepts<RunRequestBody>("application/json", "*/*")
            .Produces<string>(contentType: "text/event-stream")
            .ProducesErrors(401, 403, 404, 413, 421, 429, 502)
            .ProducesRunErrors(400, 500, 503);

    private static async Task StreamAsync(HttpContext context)
    {
        IServiceProvider services = context.RequestServices;
        ISandboxRunner runner = services.GetRequiredService<ISandboxRunner>();
        using PreparedRun run = await services.GetRequiredService<RunPreparation>().PrepareAsync(context);
        await using IAsyncEnumerator<SandboxEvent> events = runner.StreamAsync(run.Request, run.End).GetAsyncEnumerator(run.End);
        EventWriter writer = new(context.Response, context.RequestAborted);
        PartialOutput progress = new();
        try
        {
            while (await NextAsync(events, writer, services.GetRequiredService<TimeProvider>()))
            {
                if (events.Current is SandboxImagePulling)
                {
                    // A pull that fails has a status of its own, which comes before everything that is sent.
                    continue;
                }

                progress.Note(events.Current);
                if (events.Current is SandboxEnded { Result: var result })
                {
                    using IDisposable room = services.GetRequiredService<ResponseBudget>().Enter(context, RunResponses.BytesOf(result));
                    ApiResponse answer = run.Complete(result);
                    if (!writer.HasStarted)
                    {
                        await answer.WriteAsync(context);
                        return;
                    }

                    await writer.EndAsync(answer);
                    return;
                }

                if (events.Current is SandboxStarted)
                {
                    run.MarkStarted();
                }

                await writer.WriteAsync(events.Current);
            }
        }
        catch (Exception exception) when (writer.HasStarted
            && services.GetRequiredService<ErrorResponses>().For(exception, context) is { } answer)
        {
            await writer.EndAsync(progress.IsUnderWay ? progress.AddTo(answer) : answer);
        }
    }

    /// <summary>Waits for the next event; sends a comment now and then, so that proxies keep the connection.</summary>
    private static async Task<bool> NextAsync(IAsyncEnumerator<SandboxEvent> events, EventWriter writer, TimeProvider time)
    {
        Task<bool> next = events.MoveNextAsync().AsTask();
        while (writer.HasStarted && !next.IsCompleted)
        {
            using CancellationTokenSource stop = new();
            Task wait = Task.Delay(KeepAlive, time, stop.Token);
            if (await Task.WhenAny(next, wait) == wait)
            {
                try
                {
                    await writer.KeepAliveAsync();
                }
                catch
                {
                    // The client is gone, which ends the run; the events may be let go of when their end has come.
                    await next.ContinueWith(_ => { }, TaskScheduler.Default);
                    throw;
                }
            }

            await stop.CancelAsync();
        }

        return await next;
    }

    /// <summary>Writes events. Each stream has a decoder of its own: a character that is cut between two reads comes out whole.</summary>
    private sealed class EventWriter(HttpResponse response, CancellationToken cancellationToken)
    {
        private readonly Decoder _stdout = Encoding.UTF8.GetDecoder();
        private readonly Decoder _stderr = Encoding.UTF8.GetDecoder();

        public bool HasStarted { get; private set; }

        public async Task WriteAsync(SandboxEvent happened)
        {
            if (!HasStarted)
            {
                HasStarted = true;
                response.ContentType = "text/event-stream";
                response.Headers.CacheControl = "no-store";
                response.Headers["X-Accel-Buffering"] = "no";
            }

            switch (happened)
            {
                case SandboxStarted { Id: var id }:
                    await SendAsync("started", JsonSerializer.SerializeToUtf8Bytes(new StartedBody(id), HostJson.Relaxed.StartedBody));
                    break;
                case SandboxDataReceived { Stream: var stream, Data: var data }:
                    await SendTextAsync(stream, data, flush: false);
                    break;
            }
        }

        public async Task EndAsync(ApiResponse answer)
        {
            await SendTextAsync(SandboxStream.StandardOutput, default, flush: true);
            await SendTextAsync(SandboxStream.StandardError, default, flush: true);
            await response.Body.WriteAsync("event: end\ndata: "u8.ToArray(), cancellationToken);
            await answer.WriteEventDataAsync(response.BodyWriter, cancellationToken);
            await response.Body.WriteAsync("\n\n"u8.ToArray(), cancellationToken);
            await response.Body.FlushAsync(cancellationToken);
        }

        public async Task KeepAliveAsync()
        {
            await response.Body.WriteAsync(": waiting\n\n"u8.ToArray(), cancellationToken);
            await response.Body.FlushAsync(cancellationToken);
        }

        private async Task SendTextAsync(SandboxStream stream, ReadOnlyMemory<byte> data, bool flush)
        {
            Decoder decoder = stream == SandboxStream.StandardOutput ? _stdout : _stderr;
            char[] text = new char[decoder.GetCharCount(data.Span, flush)];
            int length = decoder.GetChars(data.Span, text, flush);
            if (length > 0)
            {
                await SendAsync(
                    stream == SandboxStream.StandardOutput ? "stdout" : "stderr",
                    JsonSerializer.SerializeToUtf8Bytes(new TextBody(new string(text, 0, length)), HostJson.Relaxed.TextBody));
            }
        }

        /// <summary>One event. JSON has no raw line ends, so the data is one line.</summary>
        private async Task SendAsync(string name, byte[] data)
        {
            await response.Body.WriteAsync(Encoding.ASCII.GetBytes($"event: {name}\ndata: "), cancellationToken);
            await response.Body.WriteAsync(data, cancellationToken);
            await response.Body.WriteAsync("\n\n"u8.ToArray(), cancellationToken);
            await response.Body.FlushAsync(cancellationToken);
        }
    }
}
