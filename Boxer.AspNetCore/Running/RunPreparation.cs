using Boxer.Images;
using Boxer.Networking;
using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Running;

/// <summary>Turns HTTP requests into runs, for POST /run and POST /run/stream.</summary>
internal sealed class RunPreparation(
    IOptions<BoxerHttpOptions> options,
    AllowedNetworks networks,
    FileStore store,
    RequestBodyBudget bodies,
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
        RequestSizeLimit.Set(context, options.Value.MaxRequestBytes, $"the body has more than {options.Value.MaxRequestBytes} bytes; upload what is large with POST /files.");
        limiter.CheckAvailable();
        RequestBodyLease bodyLease = bodies.Reserve(context);
        IDisposable? permit = null;
        RunFiles? files = null;
        try
        {
            RunRequestBody body = await ReadAsync(context, bodyLease);
            bodyLease.ReleaseBuffer();
            permit = limiter.Acquire();
            string client = Clients.NameOf(context);
            files = store.GetSpace(client).BeginRun(new RunUploads { Files = body.Files ?? [], Workspace = body.Workspace?.Uploads ?? [], WorkspaceArchive = body.Workspace?.Archive });
            FieldNames.SetUploadCount(context, files.Inputs.Count);
            return new PreparedRun(
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

    private async Task<RunRequestBody> ReadAsync(HttpContext context, RequestBodyLease bodyLease)
    {
        await using TimedRequestBody body = new(context.Request.Body, options.Value.RequestBodyTimeout, time, bodyLease.Add, context.RequestAborted);
        return await RunRequestReader.ReadAsync(body, Clients.AllowedNetworksOf(context, networks.Names), context.RequestAborted);
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
            PullPolicy = body.Pull is null ? null : Enum.Parse<PullPolicy>(body.Pull, ignoreCase: true),
            Limits = body.Limits?.Values ?? new(),
            Egress = body.Egress is { } egress
                ? new EgressPolicy
                {
                    Allow = egress.Allow is null ? null : [.. egress.Allow],
                    Deny = [.. egress.Deny ?? []],
                    BandwidthBitsPerSecond = egress.BandwidthBps,
                    QuotaBytes = egress.QuotaBytes,
                }
                : null,
            Files = [.. files.Inputs, .. CreateFiles(body.Inputs)],
            Workspace = CreateWorkspace(body, files, options),
            MergeStandardError = body.MergeStderr ?? false,
            StandardInput = body.StdinBase64,
            StopGrace = TimeSpan.FromMilliseconds(body.StopGraceMs ?? 0),
            OutputFiles = OutputsOf(body) switch
            {
                KeepOutputs => files.Outputs,
                "inline" => OutputFilePolicy.InMemoryUpTo(options.MaxInlineOutputBytes, options.MaxInlineOutputFiles),
                _ => OutputFilePolicy.Discard,
            },
        };
        foreach (string variable in body.Env ?? [])
        {
            int equals = variable.IndexOf('=', StringComparison.Ordinal);
            request.Environment[variable[..equals]] = variable[(equals + 1)..];
        }

        return body.StdinBase64 is null ? request.WithStandardInput(body.Stdin ?? "") : request;
    }

    // FieldNames maps faults of these inputs by their order.
    private static SandboxWorkspace? CreateWorkspace(RunRequestBody body, RunFiles files, BoxerHttpOptions options)
    {
        if (body.Workspace is not { } workspace)
        {
            return null;
        }

        SandboxWorkspace created = new()
        {
            Inputs = { SandboxInput.FromFiles(CreateFiles(workspace.Files)), SandboxInput.FromFiles(files.WorkspaceFiles) },
            MaxChangesBytes = body.WorkspaceOut == true ? options.MaxInlineOutputBytes : 0,
        };
        created.Path = workspace.Path ?? created.Path;
        if (files.WorkspaceArchive is { } archive)
        {
            created.Inputs.Add(archive);
        }

        return created;
    }

    private static IEnumerable<SandboxFile> CreateFiles(IReadOnlyList<InputBody>? inputs) => (inputs ?? []).Select(input =>
    {
        SandboxFile file = input.ContentBase64 is { } bytes ? SandboxFile.FromBytes(input.Path, bytes) : SandboxFile.FromText(input.Path, input.Content ?? "");
        file.Executable = input.Executable ?? false;
        return file;
    });
}
