using System.Text.Json;

namespace Boxer.AspNetCore.Endpoints;

/// <summary>Runs commands and writes their results: as one response, or as server-sent events <c>started</c>, <c>stdout</c>, <c>stderr</c> and <c>end</c>.</summary>
internal static class CommandAnswers
{
    /// <summary>Runs a command and writes its result.</summary>
    /// <param name="context">The request.</param>
    /// <param name="command">The command.</param>
    public static async Task AnswerAsync(HttpContext context, IPreparedCommand command)
    {
        IServiceProvider services = context.RequestServices;
        try
        {
            await foreach (SandboxEvent item in command.StreamAsync())
            {
                if (item is SandboxEnded { Result: var result })
                {
                    using IDisposable reservation = services.GetRequiredService<ResponseBudget>().Reserve(context, RunResponses.BytesOf(result));
                    await command.Complete(result).WriteAsync(context);
                }
            }
        }
        catch (Exception exception) when (command.IsRunning && services.GetRequiredService<ErrorResponses>().For(exception, context) is { } response)
        {
            await command.AddOutputTo(response).WriteAsync(context);
        }
    }

    /// <summary>Runs a command and writes its events. Errors before the command starts have a status; later errors are reported in the <c>end</c> event.</summary>
    /// <param name="context">The request.</param>
    /// <param name="command">The command.</param>
    public static async Task StreamAsync(HttpContext context, IPreparedCommand command)
    {
        IServiceProvider services = context.RequestServices;
        await using IAsyncEnumerator<SandboxEvent> events = command.StreamAsync().DecodeText().GetAsyncEnumerator();
        ServerSentEvents writer = new(context);
        try
        {
            while (await writer.NextAsync(events))
            {
                // The response starts only when the pull is over, because a failed pull has a status of its own.
                if (events.Current is SandboxImagePulling)
                {
                    continue;
                }

                if (events.Current is SandboxEnded { Result: var result })
                {
                    using IDisposable reservation = services.GetRequiredService<ResponseBudget>().Reserve(context, RunResponses.BytesOf(result));
                    ApiResponse response = command.Complete(result);
                    await (writer.HasStarted ? EndAsync(context, writer, response) : response.WriteAsync(context));
                    return;
                }

                await WriteAsync(writer, events.Current);
            }
        }
        catch (Exception exception) when (writer.HasStarted
            && services.GetRequiredService<ErrorResponses>().For(exception, context) is { } response)
        {
            await EndAsync(context, writer, command.AddOutputTo(response));
        }
    }

    // Events that clients do not get only start the response.
    private static async Task WriteAsync(ServerSentEvents writer, SandboxEvent item)
    {
        writer.Start();
        switch (item)
        {
            case SandboxStarted { Id: var id }:
                await writer.SendAsync("started", JsonSerializer.SerializeToUtf8Bytes(new StartedBody(id), HostJson.Relaxed.StartedBody));
                break;
            case SandboxTextReceived { Stream: var stream, Text: var text }:
                await writer.SendAsync(
                    stream == SandboxStream.StandardOutput ? "stdout" : "stderr",
                    JsonSerializer.SerializeToUtf8Bytes(new TextBody(text), HostJson.Relaxed.TextBody));
                break;
        }
    }

    private static Task EndAsync(HttpContext context, ServerSentEvents writer, ApiResponse end) =>
        writer.SendAsync("end", target => end.WriteEventDataAsync(target, context.RequestAborted));
}
