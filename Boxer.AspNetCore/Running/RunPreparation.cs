using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Running;

/// <summary>Turns HTTP requests into runs, for POST /run and POST /run/stream.</summary>
internal sealed class RunPreparation(
    ISandboxRunner runner,
    IOptions<BoxerHttpOptions> options,
    AllowedNetworks networks,
    FileStore store,
    RequestBodies bodies,
    RunRequestLimiter limiter,
    GracefulShutdown shutdown,
    TimeProvider time,
    ILogger<RunPreparation> logger)
{
    private const string KeepOutputs = "keep";

    /// <summary>Reads and validates a request, and locks the uploads that it uses.</summary>
    /// <exception cref="HttpFaultException">The request is invalid (400; all faults are listed), too large (413), or the host is busy (429).</exception>
    /// <exception cref="InvalidSandboxRequestException">An upload does not exist.</exception>
    public async Task<PreparedRun> PrepareAsync(HttpContext context)
    {
        bodies.SetSizeLimit(context);
        limiter.CheckAvailable();
        RequestBodyLease bodyLease = bodies.Reserve(context);
        IDisposable? permit = null;
        RunFiles? files = null;
        try
        {
            string[] allowed = Clients.AllowedNetworksOf(context, networks.Names);
            RunRequestBody body = await bodies.ReadAsync(context, bodyLease, read => RunRequestReader.ReadAsync(read, allowed, context.RequestAborted));
            permit = limiter.Acquire();
            string client = Clients.NameOf(context);
            files = store.GetSpace(client).BeginRun(new RunUploads { Files = body.Files ?? [], Workspace = body.Workspace?.Uploads ?? [], WorkspaceArchive = body.Workspace?.Archive });
            FieldNames.SetUploadCount(context, files.Inputs.Count);
            return new PreparedRun(
                runner,
                CreateRequest(body, files, client, options.Value),
                files,
                [permit, bodyLease, new DisconnectMonitor(context, time)],
                body.Persist ?? false,
                OutputsOf(body) == KeepOutputs,
                shutdown.CreateCancellation(TimeSpan.FromMilliseconds(body.StopGraceMs ?? 0), context.RequestAborted),
                logger);
        }
        catch
        {
            permit?.Dispose();
            bodyLease.Dispose();
            files?.Dispose();
            throw;
        }
    }

    private static string OutputsOf(RunRequestBody body) => body.Outputs ?? (body.Persist ?? false ? KeepOutputs : "none");

    private static SandboxRequest CreateRequest(RunRequestBody body, RunFiles files, string client, BoxerHttpOptions options)
    {
        SandboxRequest request = new(body.Image, body.Cmd)
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
            MergeStandardError = body.MergeStderr ?? false,
            Terminal = RequestParts.TerminalOf(body.Terminal),
            StandardInput = RequestParts.StandardInputOf(body.Stdin, body.StdinBase64),
            StopGrace = TimeSpan.FromMilliseconds(body.StopGraceMs ?? 0),
            OutputFiles = OutputsOf(body) switch
            {
                KeepOutputs => files.Outputs,
                "inline" => OutputFilePolicy.InMemoryUpTo(options.MaxInlineOutputBytes, options.MaxInlineOutputFiles),
                _ => OutputFilePolicy.Discard,
            },
        };
        if (body.WorkspaceOut == true)
        {
            request.Workspace!.MaxChangesBytes = options.MaxInlineOutputBytes;
        }

        RequestParts.SetVariables(request.Environment, body.Env);
        return request;
    }
}
