namespace Boxer.AspNetCore.Sessions;

/// <summary>Turns HTTP requests into commands of sessions.</summary>
internal sealed class CommandPreparation(
    SessionLookup lookup, RequestBodies bodies, ResponseBudget responses, GracefulShutdown shutdown, TimeProvider time)
{
    /// <summary>Reads and validates a request for a foreground command, and resumes the session if the request asks for it.</summary>
    /// <exception cref="HttpFaultException">The request is invalid (400; all faults are listed), too large (413), or the host is busy (429).</exception>
    public async Task<PreparedExec> PrepareExecAsync(HttpContext context)
    {
        ISandboxSession session = await lookup.FindAsync(context);
        bool resume = new RequestQuery(context).CheckAndReadResume();
        bodies.SetSizeLimit(context);
        RequestBodyLease lease = bodies.Reserve(context);
        try
        {
            ExecRequestBody body = await bodies.ReadAsync(
                context, lease, read => JsonBody.ReadAsync(read, SessionRequestReader.Exec, new ExecRequestBody { Cmd = [] }, check: null, context.RequestAborted));
            if (resume)
            {
                await session.ResumeAsync(context.RequestAborted);
            }

            TimeSpan grace = TimeSpan.FromMilliseconds(body.StopGraceMs ?? 0);
            return new PreparedExec(
                session,
                CreateCommand(body, grace),
                responses.Reserve(context, 0),
                [lease, new DisconnectMonitor(context, time)],
                shutdown.CreateCancellation(grace, context.RequestAborted));
        }
        catch
        {
            lease.Dispose();
            throw;
        }
    }

    /// <summary>Reads and validates a request for a process, resumes the session if the request asks for it, and starts the process.</summary>
    /// <exception cref="HttpFaultException">The request is invalid (400; all faults are listed), too large (413), or the host is busy (429).</exception>
    public async Task<ISandboxProcess> StartProcessAsync(HttpContext context)
    {
        ISandboxSession session = await lookup.FindAsync(context);
        bool resume = new RequestQuery(context).CheckAndReadResume();
        bodies.SetSizeLimit(context);
        using RequestBodyLease lease = bodies.Reserve(context);
        ProcessRequestBody body = await bodies.ReadAsync(
            context, lease, read => JsonBody.ReadAsync(read, SessionRequestReader.Process, new ProcessRequestBody { Cmd = [] }, check: null, context.RequestAborted));
        if (resume)
        {
            await session.ResumeAsync(context.RequestAborted);
        }

        using RunCancellation cancellation = shutdown.CreateCancellation(TimeSpan.Zero, context.RequestAborted);
        ISandboxProcess process = await session.StartAsync(CreateCommand(body), cancellation.Token);
        if (context.RequestAborted.IsCancellationRequested)
        {
            // Nobody waits for its identifier.
            await process.DisposeAsync();
            context.RequestAborted.ThrowIfCancellationRequested();
        }

        return process.End is { Termination: { Kind: TerminationKind.NotStarted } end }
            ? throw new HttpFaultException(StatusCodes.Status400BadRequest, $"cmd: {end.Message}.") { ExitCode = new SandboxResult(end).ExitCode }
            : process;
    }

    private static SandboxCommand CreateCommand(ExecRequestBody body, TimeSpan grace)
    {
        SandboxCommand command = new(body.Cmd[0], body.Cmd.Skip(1))
        {
            WorkingDirectory = body.Cwd,
            User = body.User,
            Limits = body.Limits?.Values ?? new(),
            StandardInput = RequestParts.StandardInputOf(body.Stdin, body.StdinBase64),
            MergeStandardError = body.MergeStderr ?? false,
            StopGrace = grace,
        };
        RequestParts.SetVariables(command.Environment, body.Env);
        return command;
    }

    private static SandboxCommand CreateCommand(ProcessRequestBody body)
    {
        SandboxCommand command = new(body.Cmd[0], body.Cmd.Skip(1))
        {
            WorkingDirectory = body.Cwd,
            User = body.User,
            Limits = body.Limits?.Values ?? new(),
            MergeStandardError = body.MergeStderr ?? false,
            Terminal = RequestParts.TerminalOf(body.Terminal),
        };
        RequestParts.SetVariables(command.Environment, body.Env);
        return command;
    }
}
