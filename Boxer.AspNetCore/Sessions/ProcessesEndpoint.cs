using Boxer.AspNetCore.Endpoints;

namespace Boxer.AspNetCore.Sessions;

/// <summary>POST and GET /sessions/{id}/processes, and the requests to one process apart from its input and its events.</summary>
internal static class ProcessesEndpoint
{
    /// <summary>Tag of the requests to processes.</summary>
    internal const string Tag = "Processes";

    public static void MapProcesses(this IEndpointRouteBuilder routes)
    {
        routes.MapPost("/sessions/{id}/processes", (Delegate)StartAsync)
            .Describe("startProcess", Tag, "Starts a process that goes on while other requests come, such as a server or a shell in a terminal.")
            .Accepts<ProcessRequestBody>("application/json", "*/*")
            .Produces<ProcessBody>(StatusCodes.Status201Created)
            .ProducesSessionErrors(400, 409, 413, 429);
        routes.MapGet("/sessions/{id}/processes", (Delegate)ListAsync)
            .Describe("listProcesses", Tag, "Lists the living processes of a session, and those that ended in the last 10 minutes. Environments are not included.")
            .Produces<IReadOnlyList<ProcessBody>>();
        routes.MapGet("/sessions/{id}/processes/{pid}", (Delegate)GetAsync).Describe("getProcess", Tag, "Returns a process.").Produces<ProcessBody>();
        routes.MapDelete("/sessions/{id}/processes/{pid}", (Delegate)KillAsync)
            .Describe("killProcess", Tag, "Kills a process and every process of its POSIX session.")
            .Produces<ProcessBody>()
            .ProducesSessionErrors(400, 409);
        routes.MapPost("/sessions/{id}/processes/{pid}/signal", (Delegate)SignalAsync)
            .Describe("signalProcess", Tag, "Sends a signal to the process group of a process.")
            .Accepts<SignalBody>("application/json", "*/*")
            .Produces<PidBody>()
            .ProducesSessionErrors(400, 409, 413, 429);
        routes.MapPost("/sessions/{id}/processes/{pid}/resize", (Delegate)ResizeAsync)
            .Describe("resizeTerminal", Tag, "Changes the size of the terminal of a process.")
            .Accepts<TerminalBody>("application/json", "*/*")
            .Produces<PidBody>()
            .ProducesSessionErrors(400, 409, 413, 429);
    }

    private static async Task StartAsync(HttpContext context)
    {
        ISandboxProcess process = await context.RequestServices.GetRequiredService<CommandPreparation>().StartProcessAsync(context);
        context.Response.StatusCode = StatusCodes.Status201Created;
        context.Response.Headers.Location = FormattableString.Invariant($"{context.Request.PathBase}{context.Request.Path.Value!.TrimEnd('/')}/{process.Id}");
        await WriteAsync(context, process);
    }

    private static async Task ListAsync(HttpContext context)
    {
        const int PerCharacter = 2;
        ISandboxSession session = await FindSessionAsync(context);
        IReadOnlyList<ProcessBody> list = [.. session.Processes.Select(ProcessBody.Of)];

        // Command lines can be long.
        long characters = list.Sum(process => process.Cmd.Sum(argument => (long)argument.Length));
        using IDisposable reservation = context.RequestServices.GetRequiredService<ResponseBudget>().Reserve(context, PerCharacter * characters);
        await context.Response.WriteAsJsonAsync(list, HostJson.Relaxed.IReadOnlyListProcessBody, cancellationToken: context.RequestAborted);
    }

    private static async Task GetAsync(HttpContext context) =>
        await WriteAsync(context, SessionLookup.FindProcess(context, await FindSessionAsync(context)));

    private static async Task KillAsync(HttpContext context)
    {
        ISandboxSession session = await FindSessionAsync(context);
        ISandboxProcess process = SessionLookup.FindProcess(context, session);
        await new RequestQuery(context).CheckRunningAsync(session);
        await process.DisposeAsync();
        await WriteAsync(context, process);
    }

    private static async Task SignalAsync(HttpContext context)
    {
        ISandboxSession session = await FindSessionAsync(context);
        ISandboxProcess process = SessionLookup.FindLivingProcess(context, session);
        bool resume = new RequestQuery(context).CheckAndReadResume();
        SignalBody body = await context.RequestServices.GetRequiredService<RequestBodies>().ReadAsync(context, SessionRequestReader.Signal, new SignalBody { Signal = 0 });
        if (resume)
        {
            await session.ResumeAsync(context.RequestAborted);
        }

        await process.SignalAsync(body.Signal, context.RequestAborted);
        await WritePidAsync(context, process);
    }

    private static async Task ResizeAsync(HttpContext context)
    {
        ISandboxSession session = await FindSessionAsync(context);
        ISandboxProcess process = SessionLookup.FindLivingProcess(context, session);
        bool resume = new RequestQuery(context).CheckAndReadResume();
        TerminalBody body = await context.RequestServices.GetRequiredService<RequestBodies>().ReadAsync(
            context, RequestKinds.TerminalFields, new TerminalBody { Cols = 0, Rows = 0 });
        if (!process.IsTerminal)
        {
            throw HttpFaultException.BadRequest("the process has no terminal; start it with terminal.");
        }

        if (resume)
        {
            await session.ResumeAsync(context.RequestAborted);
        }

        await process.ResizeAsync(new SandboxTerminal(body.Cols, body.Rows), context.RequestAborted);
        await WritePidAsync(context, process);
    }

    private static Task<ISandboxSession> FindSessionAsync(HttpContext context) => context.RequestServices.GetRequiredService<SessionLookup>().FindAsync(context);

    private static Task WriteAsync(HttpContext context, ISandboxProcess process) =>
        context.Response.WriteAsJsonAsync(ProcessBody.Of(process), HostJson.Relaxed.ProcessBody, cancellationToken: context.RequestAborted);

    /// <summary>Answers a request to a process.</summary>
    internal static Task WritePidAsync(HttpContext context, ISandboxProcess process) =>
        context.Response.WriteAsJsonAsync(new PidBody(process.Id), HostJson.Relaxed.PidBody, cancellationToken: context.RequestAborted);
}
