namespace Boxer.AspNetCore.Sessions;

/// <summary>Opens sessions for POST /sessions.</summary>
internal sealed class SessionPreparation(
    ISandboxSessions sessions,
    AllowedNetworks networks,
    FileStore store,
    RequestBodies bodies,
    RunRequestLimiter limiter,
    GracefulShutdown shutdown,
    TimeProvider time,
    ILogger<SessionPreparation> logger)
{
    /// <summary>Reads and validates a request, and opens the session. A session whose client has disconnected meanwhile is closed.</summary>
    /// <exception cref="HttpFaultException">The request is invalid (400; all faults are listed), too large (413), or the host is busy (429).</exception>
    public async Task<ISandboxSession> OpenAsync(HttpContext context)
    {
        bodies.SetSizeLimit(context);
        limiter.CheckAvailable();
        using RequestBodyLease lease = bodies.Reserve(context);

        // A session lives longer than its request; the network of the host is for single runs of trusted clients.
        string[] allowed = [.. Clients.AllowedNetworksOf(context, networks.Names).Where(name => name != "host")];
        SessionRequestBody body = await bodies.ReadAsync(context, lease, read => SessionRequestReader.ReadAsync(read, allowed, context.RequestAborted));
        using IDisposable permit = limiter.Acquire();
        string client = Clients.NameOf(context);
        using RunFiles files = store.GetSpace(client).BeginRun(
            new RunUploads { Files = body.Files ?? [], Workspace = body.Workspace?.Uploads ?? [], WorkspaceArchive = body.Workspace?.Archive });
        FieldNames.SetUploadCount(context, files.Inputs.Count);
        using DisconnectMonitor monitor = new(context, time);
        using RunCancellation cancellation = shutdown.CreateCancellation(TimeSpan.Zero, context.RequestAborted);
        ISandboxSession session = await sessions.OpenAsync(CreateRequest(body, files, client), cancellation.Token);
        if (context.RequestAborted.IsCancellationRequested)
        {
            // Nobody knows its identifier.
            await session.CloseAsync(CancellationToken.None);
            context.RequestAborted.ThrowIfCancellationRequested();
        }

        if (body.Persist != true)
        {
            DeleteUploads(files);
        }

        return session;
    }

    private static SandboxSessionRequest CreateRequest(SessionRequestBody body, RunFiles files, string client)
    {
        SandboxSessionRequest request = new(body.Image)
        {
            WorkingDirectory = body.Cwd,
            User = body.User,
            FairnessKey = client,
            Network = body.Network ?? "none",
            PullPolicy = RequestParts.PullPolicyOf(body.Pull),
            Limits = body.Limits?.Values ?? new(),
            Egress = RequestParts.EgressOf(body.Egress),
            Files = [.. files.Inputs, .. RequestParts.FilesOf(body.Inputs)],
            Workspace = RequestParts.WorkspaceOf(body.Workspace, files),
            IdleTimeout = TimeOf(body.IdleTimeoutSecs),
            Lifetime = TimeOf(body.LifetimeSecs),
        };
        RequestParts.SetVariables(request.Environment, body.Env);
        foreach ((string name, string value) in body.Labels ?? new Dictionary<string, string>())
        {
            request.Labels[name] = value;
        }

        return request;
    }

    /// <summary>Gets a time from seconds; <see langword="null"/> for the default.</summary>
    public static TimeSpan? TimeOf(double? seconds) => seconds is { } given ? TimeSpan.FromSeconds(given) : null;

    private void DeleteUploads(RunFiles files)
    {
        try
        {
            files.DeleteInputs();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            HttpLog.FilesLeft(logger, exception);
        }
    }
}
