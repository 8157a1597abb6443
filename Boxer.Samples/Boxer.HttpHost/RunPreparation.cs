using Boxer.Files;
using Boxer.HttpHost.Contracts;
using Boxer.HttpHost.Security;
using Boxer.HttpHost.Settings;
using Boxer.Images;
using Microsoft.Extensions.Options;

namespace Boxer.HttpHost;

/// <summary>Makes runs of requests; what POST /run and POST /run/stream have in common.</summary>
internal sealed class RunPreparation(
    IOptions<BoxerOptions> options,
    HostSettings settings,
    ApiKeys keys,
    BodyRoom bodies,
    RunPlaces places,
    RunLifetime lifetime,
    TimeProvider time,
    ILogger<RunPreparation> logger)
{
    private static readonly TimeSpan BodyTimeout = TimeSpan.FromSeconds(120);

    /// <summary>Reads and checks a request, and holds the files that it names.</summary>
    /// <exception cref="HttpFaultException">The request is wrong; every fault is named.</exception>
    public async Task<PreparedRun> PrepareAsync(HttpContext context)
    {
        BodyLimit.Set(context, settings.RunBodyLimitBytes, $"the body has more than {settings.RunBodyLimitBytes} bytes; upload what is large with POST /files.");
        places.CheckFree();
        BodyPlace held = bodies.Enter(context);
        IDisposable? place = null;
        RunFiles? files = null;
        try
        {
            RunRequestBody body = await ReadAsync(context, held);
            held.Arrived();
            place = places.Enter();
            files = keys.SpaceOf(context).BeginRun([.. body.Files ?? []]);
            return new PreparedRun(
                MakeRequest(body, files, ApiKeys.NameOf(context)),
                files,
                [place, held, new ClientWatch(context, time)],
                body.Persist ?? false,
                CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, lifetime.End),
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

    private async Task<RunRequestBody> ReadAsync(HttpContext context, BodyPlace held)
    {
        await using WatchedBody body = new(context.Request.Body, BodyTimeout, time, held.Hold, context.RequestAborted);
        return await RunRequestReader.ReadAsync(body, options.Value.AllowedNetworks, context.RequestAborted);
    }

    private static SandboxRequest MakeRequest(RunRequestBody body, RunFiles files, string client)
    {
        SandboxRequest request = new(body.Image, body.Cmd)
        {
            WorkingDirectory = body.Cwd,
            User = body.User,
            FairnessKey = client,
            Network = body.Network ?? "none",
            PullPolicy = body.Pull is null ? null : Enum.Parse<PullPolicy>(body.Pull, ignoreCase: true),
            Limits = MakeLimits(body.Limits),
            Egress = body.Egress is { } egress
                ? new EgressPolicy
                {
                    Allow = egress.Allow is null ? null : [.. egress.Allow],
                    Deny = [.. egress.Deny ?? []],
                    BandwidthBitsPerSecond = egress.BandwidthBps,
                    QuotaBytes = egress.QuotaBytes,
                }
                : null,
            Files = [.. files.Inputs],
            Outputs = body.Persist ?? false ? files.Outputs : SandboxOutputs.Discard,
        };
        foreach (string variable in body.Env ?? [])
        {
            int equals = variable.IndexOf('=', StringComparison.Ordinal);
            request.Environment[variable[..equals]] = variable[(equals + 1)..];
        }

        return request.WithStdin(body.Stdin ?? "");
    }

    private static ResourceLimits MakeLimits(LimitsBody? limits) =>
        new()
        {
            CpuCores = limits?.CpuCores,
            MemoryMegabytes = limits?.MemoryMb,
            Pids = limits?.PidsLimit,
            WallClock = limits?.WallClockSecs is { } seconds ? TimeSpan.FromSeconds(seconds) : null,
            CpuTime = limits?.CpuTimeSecs is { } cpuSeconds ? TimeSpan.FromSeconds(cpuSeconds) : null,
            OpenFiles = limits?.Nofile,
            DiskMegabytes = limits?.DiskMb,
        };
}

/// <summary>A run that can start. Disposing it lets go of its files.</summary>
/// <param name="request">What to run.</param>
/// <param name="files">Its files.</param>
/// <param name="held">What is given back when it is over, whatever happens to its files.</param>
/// <param name="persist">Whether its files are kept.</param>
/// <param name="end">Ends it.</param>
/// <param name="logger">Where faults of the disk go.</param>
internal sealed class PreparedRun(SandboxRequest request, RunFiles files, IReadOnlyList<IDisposable> held, bool persist, CancellationTokenSource end, ILogger logger) : IDisposable
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
    public HttpAnswer Complete(SandboxResult result)
    {
        _started = result.Termination.Kind != TerminationKind.NotStarted;
        IReadOnlyList<OutputBody> outputs = [];
        string? incomplete = result.OutputsIncomplete;
        if (persist)
        {
            try
            {
                outputs = [.. files.KeepOutputs(result.Id).Select(file => new OutputBody(file.Path, file.Size))];
            }
            catch (FileStoreFullException exception)
            {
                incomplete = $"None was kept: {exception.PublicMessage}";
                HostLog.OutputsNotKept(logger, result.Id, exception.Message);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                // The run was a good one: what it printed is not lost to a fault of this host's disk.
                incomplete = "None was kept: this host could not store them.";
                HostLog.OutputsNotKept(logger, result.Id, exception.Message);
            }
        }

        return RunAnswers.For(result, outputs, incomplete);
    }

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
            HostLog.FilesLeft(logger, exception);
        }

        try
        {
            files.Dispose();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            HostLog.FilesLeft(logger, exception);
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
