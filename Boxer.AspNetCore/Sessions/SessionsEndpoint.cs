using Boxer.AspNetCore.Endpoints;
using Boxer.Networking;

namespace Boxer.AspNetCore.Sessions;

/// <summary>POST and GET /sessions; GET, PATCH and DELETE /sessions/{id}; POST /sessions/{id}/pause and /resume.</summary>
internal static class SessionsEndpoint
{
    /// <summary>Tag of the requests to sessions.</summary>
    internal const string Tag = "Sessions";

    /// <summary>Maximum number of sessions in a list.</summary>
    private const int MaxListed = 1_000;

    public static void MapSessions(this IEndpointRouteBuilder routes)
    {
        routes.MapPost("/sessions", (Delegate)OpenAsync)
            .WithOperationId("openSession")
            .WithTags(Tag)
            .WithSummary("Opens a session: a sandbox that is kept for many commands.")
            // The body is parsed as JSON whatever its Content-Type: some clients send none.
            .Accepts<SessionRequestBody>("application/json", "*/*")
            .Produces<SessionBody>(StatusCodes.Status201Created)
            .ProducesErrors(400, 401, 403, 404, 413, 421, 429, 500, 502, 503);
        routes.MapGet("/sessions", (Delegate)ListAsync)
            .WithOperationId("listSessions")
            .WithTags(Tag)
            .WithSummary("Lists the client's open sessions, oldest first; at most 1000.")
            .Produces<IReadOnlyList<SessionBody>>()
            .ProducesErrors(401, 403, 421, 500);
        routes.MapGet("/sessions/{id}", (Delegate)GetAsync).Describe("getSession", Tag, "Returns a session.")
            .Produces<SessionBody>();
        routes.MapPatch("/sessions/{id}", (Delegate)ExtendAsync)
            .Describe("extendSession", Tag, "Changes the idle timeout or the lifetime of a session.")
            .Produces<SessionBody>()
            .Accepts<SessionTimesBody>("application/json", "*/*")
            .ProducesSessionErrors(400, 413, 429);
        routes.MapDelete("/sessions/{id}", (Delegate)CloseAsync)
            .Describe("closeSession", Tag, "Closes a session: ends its calls and processes, and removes the sandbox with its files.")
            .Produces<SessionBody>();
        routes.MapPost("/sessions/{id}/pause", (Delegate)PauseAsync)
            .Describe("pauseSession", Tag, "Freezes a session and stops its clocks. Its memory stays reserved.")
            .WithDescription("Waits for the calls in progress, however long they take; until then it counts as a stream of the client.")
            .Produces<SessionBody>()
            .ProducesSessionErrors(429);
        routes.MapPost("/sessions/{id}/resume", (Delegate)ResumeAsync).Describe("resumeSession", Tag, "Resumes a paused session.")
            .Produces<SessionBody>();
    }

    private static async Task OpenAsync(HttpContext context)
    {
        ISandboxSession session = await context.RequestServices.GetRequiredService<SessionPreparation>().OpenAsync(context);
        context.Response.StatusCode = StatusCodes.Status201Created;
        context.Response.Headers.Location = $"{context.Request.PathBase}{context.Request.Path.Value!.TrimEnd('/')}/{session.Id}";
        await WriteAsync(context, session);
    }

    private static async Task ListAsync(HttpContext context)
    {
        ISandboxSessions sessions = context.RequestServices.GetRequiredService<ISandboxSessions>();
        IReadOnlyList<ISandboxSession> open = await sessions.ListAsync(Clients.NameOf(context), context.RequestAborted);
        if (open.Count > MaxListed)
        {
            SessionFilesEndpoint.MarkIncomplete(context);
        }

        IReadOnlyList<SessionBody> list = [.. open.Take(MaxListed).Select(SessionBody.Of)];
        await context.Response.WriteAsJsonAsync(list, HostJson.Relaxed.IReadOnlyListSessionBody, cancellationToken: context.RequestAborted);
    }

    private static async Task GetAsync(HttpContext context)
    {
        ISandboxSession session = await FindAsync(context);
        await WriteAsync(context, await AddNetworkAsync(SessionBody.Of(session), session, context.RequestAborted));
    }

    // A report that this host cannot read does not keep the rest from the client.
    private static async Task<SessionBody> AddNetworkAsync(SessionBody body, ISandboxSession session, CancellationToken cancellationToken)
    {
        try
        {
            NetworkReport network = await session.ReadNetworkAsync(cancellationToken);
            return body with { NetworkDenied = RunResponses.Denied(network), NetworkUsage = RunResponses.Usage(network) };
        }
        catch (SandboxRuntimeException)
        {
            return body with { NetworkIncomplete = "This host could not read what the session did with its network." };
        }
    }

    private static async Task ExtendAsync(HttpContext context)
    {
        ISandboxSession session = await FindAsync(context);
        SessionTimesBody times = await context.RequestServices.GetRequiredService<RequestBodies>().ReadAsync(context, SessionRequestReader.Times, new SessionTimesBody());
        await session.ExtendAsync(
            SessionPreparation.TimeOf(times.IdleTimeoutSecs), SessionPreparation.TimeOf(times.LifetimeSecs), context.RequestAborted);
        await WriteAsync(context, session);
    }

    private static async Task CloseAsync(HttpContext context)
    {
        ISandboxSession session = await FindAsync(context);
        await session.CloseAsync(context.RequestAborted);
        await WriteAsync(context, session);
    }

    private static async Task PauseAsync(HttpContext context)
    {
        ISandboxSession session = await FindAsync(context);

        // A pause waits for the calls in progress, however long they take.
        using IDisposable place = context.RequestServices.GetRequiredService<StreamBudget>().Open(context);
        using DisconnectMonitor monitor = new(context, context.RequestServices.GetRequiredService<TimeProvider>());
        await session.PauseAsync(context.RequestAborted);
        await WriteAsync(context, session);
    }

    private static async Task ResumeAsync(HttpContext context)
    {
        ISandboxSession session = await FindAsync(context);
        await session.ResumeAsync(context.RequestAborted);
        await WriteAsync(context, session);
    }

    private static Task<ISandboxSession> FindAsync(HttpContext context) => context.RequestServices.GetRequiredService<SessionLookup>().FindAsync(context);

    private static Task WriteAsync(HttpContext context, ISandboxSession session) => WriteAsync(context, SessionBody.Of(session));

    private static Task WriteAsync(HttpContext context, SessionBody body) =>
        context.Response.WriteAsJsonAsync(body, HostJson.Relaxed.SessionBody, cancellationToken: context.RequestAborted);
}
