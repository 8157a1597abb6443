using System.Text.Json;
using Boxer.AspNetCore.Endpoints;

namespace Boxer.AspNetCore.Sessions;

/// <summary>
/// GET /sessions/{id}/processes/{pid}/events: server-sent events <c>stdout</c>, <c>stderr</c>, <c>output</c> and <c>ended</c>, whose identifiers are
/// offsets to attach at again. Failures after the first event are reported in the <c>error</c> event.
/// </summary>
internal static class ProcessEventsEndpoint
{
    private const string LastEventId = "Last-Event-ID";

    public static void MapProcessEvents(this IEndpointRouteBuilder routes) => routes
        .MapGet("/sessions/{id}/processes/{pid}/events", (Delegate)StreamAsync)
        .Describe("processEvents", ProcessesEndpoint.Tag, "Streams the output of a process from an offset on, and its end.")
        .WithDescription(
            "Server-sent events: stdout and stderr, or output for a terminal (ProcessOutput), and last ended (ProcessEnd), or error (SessionError) if the stream "
            + "breaks. The id of an event is the offset behind its bytes; Last-Event-ID or offset attaches there. If the offset of an event is larger than the id "
            + "before it, output in between was dropped. The schema of each event is in x-events of the media type.")
        .Produces<string>(contentType: "text/event-stream")
        .ProducesSessionErrors(400, 409, 429);

    private static async Task StreamAsync(HttpContext context)
    {
        ISandboxSession session = await context.RequestServices.GetRequiredService<SessionLookup>().FindAsync(context);
        ISandboxProcess process = SessionLookup.FindProcess(context, session);
        RequestQuery query = new(context);

        // A browser that attaches again repeats the query too.
        long offset = query.Whole("offset", 0, long.MaxValue) ?? 0;
        offset = query.Header(LastEventId, 0, long.MaxValue) ?? offset;
        bool resume = query.CheckAndReadResume();
        await SessionEventStream.RunAsync(context, session, resume, (writer, end) => WriteAsync(writer, session, process, offset, end));
    }

    private static async Task WriteAsync(ServerSentEvents writer, ISandboxSession session, ISandboxProcess process, long offset, CancellationToken cancellationToken)
    {
        ProcessText text = new();
        await using IAsyncEnumerator<SandboxProcessEvent> events = process.EventsAsync(offset, cancellationToken).GetAsyncEnumerator(cancellationToken);
        for (bool isMore = await writer.FirstAsync(events); isMore; isMore = await writer.NextAsync(events))
        {
            if (events.Current is SandboxProcessOutput output)
            {
                foreach (SandboxProcessOutput piece in text.Add(output))
                {
                    await WriteAsync(writer, process, piece);
                }
            }
            else if (events.Current is SandboxProcessEnded { End: var end })
            {
                if (text.End() is { } rest)
                {
                    await WriteAsync(writer, process, rest);
                }

                ProcessEndBody body = ProcessEndBody.Of(end) with { SessionEnded = session.End is { } ended ? SessionNames.Of(ended) : null };
                await writer.SendAsync("ended", JsonSerializer.SerializeToUtf8Bytes(body, HostJson.Relaxed.ProcessEndBody));
                return;
            }
        }
    }

    private static Task WriteAsync(ServerSentEvents writer, ISandboxProcess process, SandboxProcessOutput piece)
    {
        string name = process.IsTerminal ? "output" : piece.Stream == SandboxStream.StandardOutput ? "stdout" : "stderr";
        return writer.SendAsync(name, JsonSerializer.SerializeToUtf8Bytes(ProcessText.BodyOf(piece), HostJson.Relaxed.ProcessOutputBody), piece.EndOffset);
    }
}
