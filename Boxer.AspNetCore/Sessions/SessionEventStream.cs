using Boxer.AspNetCore.Endpoints;

namespace Boxer.AspNetCore.Sessions;

/// <summary>A response with server-sent events of a session that has no end of its own. A failure after the first event is its <c>error</c> event.</summary>
internal static class SessionEventStream
{
    /// <summary>Writes the events. A stream that is one too many resumes nothing.</summary>
    /// <param name="context">The request.</param>
    /// <param name="session">The session.</param>
    /// <param name="resume">Whether to resume the session if it is paused.</param>
    /// <param name="write">Writes the events, until its token is cancelled.</param>
    /// <exception cref="HttpFaultException">The client, or all clients together, have too many streams open (429).</exception>
    public static async Task RunAsync(HttpContext context, ISandboxSession session, bool resume, Func<ServerSentEvents, CancellationToken, Task> write)
    {
        IServiceProvider services = context.RequestServices;
        using IDisposable place = services.GetRequiredService<StreamBudget>().Open(context);
        if (resume)
        {
            await session.ResumeAsync(context.RequestAborted);
        }

        using DisconnectMonitor monitor = new(context, services.GetRequiredService<TimeProvider>());
        CancellationToken stopping = services.GetRequiredService<GracefulShutdown>().Stopping;
        using CancellationTokenSource end = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, stopping);
        ServerSentEvents writer = new(context);
        try
        {
            await write(writer, end.Token);
        }
        catch (OperationCanceledException) when (writer.HasStarted && stopping.IsCancellationRequested && !context.RequestAborted.IsCancellationRequested)
        {
            // The session ends only when its commands have, but no client can use it any more.
            SandboxSessionEndedException ended = new(session.Id, session.End ?? SandboxSessionEnd.HostStopped);
            await writer.FailAsync(ErrorResponses.EndedSession(ended.PublicMessage, ended.End));
        }
        catch (Exception exception) when (writer.HasStarted && services.GetRequiredService<ErrorResponses>().For(exception, context) is { } response)
        {
            await writer.FailAsync(response);
        }
    }
}
