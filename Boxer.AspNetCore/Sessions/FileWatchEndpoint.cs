using System.Text.Json;
using Boxer.AspNetCore.Endpoints;

namespace Boxer.AspNetCore.Sessions;

/// <summary>
/// GET /sessions/{id}/files/watch: server-sent events <c>started</c>, <c>created</c>, <c>changed</c>, <c>deleted</c> and <c>overflow</c>. Failures after
/// the first event are reported in the <c>error</c> event.
/// </summary>
internal static class FileWatchEndpoint
{
    public static void MapFileWatch(this IEndpointRouteBuilder routes) => routes
        .MapGet("/sessions/{id}/files/watch", (Delegate)StreamAsync)
        .Describe("watchSessionFiles", SessionFilesEndpoint.Tag, "Streams the changes of a file, or of a directory and what is below it.")
        .WithDescription(
            "Server-sent events (FileChange): started, which is the first; created, changed and deleted; overflow, after which the directory must be listed again, "
            + "because changes were lost. The last is error (SessionError) if the stream breaks. A client that connects again misses what happened meanwhile. The "
            + "session is not idle while a watch is open; at most 16 can be. The schema of each event is in x-events of the media type.")
        .Produces<string>(contentType: "text/event-stream")
        .ProducesSessionErrors(400, 409, 429);

    private static async Task StreamAsync(HttpContext context)
    {
        ISandboxSession session = await context.RequestServices.GetRequiredService<SessionLookup>().FindAsync(context);
        RequestQuery query = new(context);
        string path = query.Path(absent: SessionFilesEndpoint.WorkingDirectory);
        bool resume = query.CheckAndReadResume();
        await SessionEventStream.RunAsync(context, session, resume, (writer, end) => WriteAsync(writer, session, path, end));
    }

    private static async Task WriteAsync(ServerSentEvents writer, ISandboxSession session, string path, CancellationToken cancellationToken)
    {
        // Until the watch has begun, failures have a status.
        await using IAsyncEnumerator<SandboxFileChange> changes = session.Files.WatchAsync(path, cancellationToken).GetAsyncEnumerator(cancellationToken);
        while (await writer.NextAsync(changes))
        {
            FileChangeBody body = new(changes.Current.Path);
            await writer.SendAsync(SessionNames.Of(changes.Current.Kind), JsonSerializer.SerializeToUtf8Bytes(body, HostJson.Relaxed.FileChangeBody));
        }
    }
}
