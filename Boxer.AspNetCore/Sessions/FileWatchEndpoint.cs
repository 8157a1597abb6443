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
        IServiceProvider services = context.RequestServices;
        (ISandboxSession session, string path) = await SessionFilesEndpoint.FindAsync(context, SessionFilesEndpoint.WorkingDirectory);
        using IDisposable place = services.GetRequiredService<StreamBudget>().Open(context);
        using DisconnectMonitor monitor = new(context, services.GetRequiredService<TimeProvider>());
        using CancellationTokenSource end =
            CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, services.GetRequiredService<GracefulShutdown>().Stopping);
        ServerSentEvents writer = new(context);
        try
        {
            // Until the watch has begun, failures have a status.
            await using IAsyncEnumerator<SandboxFileChange> changes = session.Files.WatchAsync(path, end.Token).GetAsyncEnumerator(end.Token);
            while (await writer.NextAsync(changes))
            {
                FileChangeBody body = new(changes.Current.Path);
                await writer.SendAsync(SessionNames.Of(changes.Current.Kind), JsonSerializer.SerializeToUtf8Bytes(body, HostJson.Relaxed.FileChangeBody));
            }
        }
        catch (Exception exception) when (writer.HasStarted && services.GetRequiredService<ErrorResponses>().For(exception, context) is { } response)
        {
            await writer.FailAsync(response);
        }
    }
}
