using Boxer.Images;
using Boxer.Networking;
using Boxer.Runtime;
using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Running;

/// <summary>Makes runs of requests; what POST /run and POST /run/stream have in common.</summary>
internal sealed class RunPreparation(
    IOptions<BoxerHttpOptions> options,
    AllowedNetworks networks,
    FileStore store,
    RequestBodyBudget bodies,
    RunRequestLimiter places,
    GracefulShutdown lifetime,
    TimeProvider time,
    ILogger<RunPreparation> logger)
{
    private const string KeepOutputs = "keep";

    /// <summary>Reads and checks a request, and holds the files that it names.</summary>
    /// <exception cref="HttpFaultException">The request is wrong; every fault is named.</exception>
    public async Task<PreparedRun> PrepareAsync(HttpContext context)
    {
        RequestSizeLimit.Set(context, options.Value.MaxRequestBytes, $"the body has more than {options.Value.MaxRequestBytes} bytes; upload what is large with POST /files.");
        places.CheckFree();
        RequestBodyLease held = bodies.Enter(context);
        IDisposable? place = null;
        RunFiles? files = null;
        try
        {
            RunRequestBody body = await ReadAsync(context, held);
            held.Arrived();
            place = places.Enter();
            files = store.GetSpace(Clients.NameOf(context)).BeginRun(new RunUploads { Files = body.Files ?? [], Workspace = body.Workspace?.Uploads ?? [], WorkspaceArchive = body.Workspace?.Archive });
            FieldNames.NoteUploads(context, files.Inputs.Count);
            return new PreparedRun(
                MakeRequest(body, files, Clients.NameOf(context), options.Value),
                files,
                [place, held, new DisconnectMonitor(context, time)],
                body.Persist ?? false,
                OutputsOf(body) == KeepOutputs,
                lifetime.BeginRun(TimeSpan.FromMilliseconds(body.StopGraceMs ?? 0), context.RequestAborted),
                logger);
        }
        catch
        {
            place?.Dispose();
            held.Dispose();
            files?.Dispose();
            throw;
        }
    }

    private async Task<RunRequestBody> ReadAsync(HttpContext context, RequestBodyLease held)
    {
        await using TimedRequestBody body = new(context.Request.Body, options.Value.RequestBodyTimeout, time, held.Hold, context.RequestAborted);
        return await RunRequestReader.ReadAsync(body, Clients.NetworksOf(context, networks.Names), context.RequestAborted);
    }

    private static string OutputsOf(RunRequestBody body) => body.Outputs ?? (body.Persist ?? false ? KeepOutputs : "none");

    private static SandboxRequest MakeRequest(RunRequestBody body, RunFiles files, string client, BoxerHttpOptions options)
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
            Files = [.. files.Inputs, .. MakeFiles(body.Inputs)],
            Workspace = MakeWorkspace(body, files, options),
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

    // FieldNames knows this order.
    private static SandboxWorkspace? MakeWorkspace(RunRequestBody body, RunFiles files, BoxerHttpOptions options)
    {
        if (body.Workspace is not { } workspace)
        {
            return null;
        }

        SandboxWorkspace made = new()
        {
            Inputs = { SandboxInput.FromFiles(MakeFiles(workspace.Files)), SandboxInput.FromFiles(files.WorkspaceFiles) },
            MaxChangesBytes = body.WorkspaceOut == true ? options.MaxInlineOutputBytes : 0,
        };
        made.Path = workspace.Path ?? made.Path;
        if (files.WorkspaceArchive is { } archive)
        {
            made.Inputs.Add(archive);
        }

        return made;
    }

    private static IEnumerable<SandboxFile> MakeFiles(IReadOnlyList<InputBody>? inputs) => (inputs ?? []).Select(input =>
    {
        SandboxFile file = input.ContentBase64 is { } bytes ? SandboxFile.FromBytes(input.Path, bytes) : SandboxFile.FromText(input.Path, input.Content ?? "");
        file.Executable = input.Executable ?? false;
        return file;
    });
}

/// <summary>A run that can start. Disposing it lets go of its files.</summary>
/// <param name="request">What to run.</param>
/// <param name="files">Its files.</param>
/// <param name="held">What is given back when it is over, whatever happens to its files.</param>
/// <param name="persist">Whether its uploads are kept.</param>
/// <param name="keepsOutputs">Whether its outputs are kept.</param>
/// <param name="end">Ends it.</param>
/// <param name="logger">Where faults of the disk go.</param>
internal sealed class PreparedRun(SandboxRequest request, RunFiles files, IReadOnlyList<IDisposable> held, bool persist, bool keepsOutputs, RunCancellation end, ILogger logger) : IDisposable
{
    private bool _started;

    /// <summary>What to run.</summary>
    public SandboxRequest Request => request;

    /// <summary>Cancelled when the client went away, or the host stops and the grace is over.</summary>
    public CancellationToken End => end.Token;

    /// <summary>
    /// Notes that the command was started. A run that never was leaves its uploads in place, so that the request can be sent again.
    /// </summary>
    public void MarkStarted() => _started = true;

    /// <summary>Keeps or throws away what the run left, and makes the answer.</summary>
    public ApiResponse Complete(SandboxResult result)
    {
        _started = result.Termination.Kind != TerminationKind.NotStarted;
        IReadOnlyList<OutputBody> outputs = [];
        string? incomplete = result.OutputFilesIncomplete;
        if (!keepsOutputs)
        {
            outputs = [.. result.OutputFiles.Select(file => Describe(file, file.Path, file.Size, new Base64Text(file.Content)))];
        }
        else
        {
            try
            {
                Dictionary<string, SandboxOutputFile> known = result.OutputFiles.ToDictionary(file => $"output/{result.Id}/{file.Path}", StringComparer.Ordinal);
                outputs = [.. files.KeepOutputs(result.Id).Select(file => Describe(known.GetValueOrDefault(file.Path), file.Path, file.Size, content: null))];
            }
            catch (FileStoreFullException exception)
            {
                incomplete = $"None was kept: {exception.PublicMessage}";
                HttpLog.OutputsNotKept(logger, result.Id, exception.Message);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                // The run was a good one: what it printed is not lost to a fault of this host's disk.
                incomplete = "None was kept: this host could not store them.";
                HttpLog.OutputsNotKept(logger, result.Id, exception.Message);
            }
        }

        return RunResponses.For(result, outputs, incomplete);
    }

    private static OutputBody Describe(SandboxOutputFile? file, string path, long size, Base64Text? content) =>
        new(path, size, file is null ? null : "0" + Convert.ToString((int)file.Mode, toBase: 8).PadLeft(3, '0'), file?.ModifiedAt, content);

    public void Dispose()
    {
        try
        {
            if (!persist && _started)
            {
                files.DeleteInputs();
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            HttpLog.FilesLeft(logger, exception);
        }

        try
        {
            files.Dispose();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            HttpLog.FilesLeft(logger, exception);
        }
        finally
        {
            foreach (IDisposable one in held)
            {
                one.Dispose();
            }

            end.Dispose();
        }
    }
}
