using Boxer.Files;
using Boxer.HttpHost.Contracts;
using Boxer.HttpHost.Security;
using Boxer.HttpHost.Settings;
using Boxer.Images;
using Microsoft.Extensions.Options;

namespace Boxer.HttpHost;

/// <summary>Makes runs of requests; what POST /run and POST /run/stream have in common.</summary>
internal sealed class RunPreparation(
    IOptions<BoxerOptions> options, HostSettings settings, ApiKeys keys, RunPlaces places, RunLifetime lifetime, TimeProvider time, ILogger<RunPreparation> logger)
{
    private static readonly TimeSpan BodyTimeout = TimeSpan.FromSeconds(120);

    /// <summary>Reads and checks a request, and holds the files that it names.</summary>
    /// <exception cref="HttpFaultException">The request is wrong; every fault is named.</exception>
    public async Task<PreparedRun> PrepareAsync(HttpContext context)
    {
        BodyLimit.Set(context, settings.RunBodyLimitBytes, $"the body has more than {settings.RunBodyLimitBytes} bytes; upload what is large with POST /files.");
        IDisposable place = places.Enter();
        RunFiles? files = null;
        try
        {
            RunRequestBody body = await ReadAsync(context);
            files = keys.SpaceOf(context).BeginRun([.. body.Files ?? []]);
            return new PreparedRun(
                MakeRequest(body, files, ApiKeys.NameOf(context)),
                files,
                place,
                body.Persist ?? false,
                CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, lifetime.End),
                logger);
        }
        catch
        {
            files?.Dispose();
            place.Dispose();
            throw;
        }
    }

    // The server's own least rate is an average since the body began: after a fast start it allows hours of silence.
    private async Task<RunRequestBody> ReadAsync(HttpContext context)
    {
        using CancellationTokenSource late = new(BodyTimeout, time);
        using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(late.Token, context.RequestAborted);
        try
        {
            return await RunRequestReader.ReadAsync(context.Request.Body, options.Value.AllowedNetworks, either.Token);
        }
        catch (OperationCanceledException) when (late.IsCancellationRequested && !context.RequestAborted.IsCancellationRequested)
        {
            throw HttpFaultException.BadRequest($"the body did not arrive within {BodyTimeout.TotalSeconds:0} s.");
        }
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
            OpenFiles = limits?.Nofile,
            DiskMegabytes = limits?.DiskMb,
        };
}

/// <summary>A run that can start. Disposing it lets go of its files.</summary>
internal sealed class PreparedRun(SandboxRequest request, RunFiles files, IDisposable place, bool persist, CancellationTokenSource end, ILogger logger) : IDisposable
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
                incomplete = $"None was kept: {exception.Message}";
                HostLog.OutputsNotKept(logger, result.Id, exception.Message);
            }
        }

        return RunAnswers.For(result, outputs, incomplete);
    }

    public void Dispose()
    {
        if (!persist && _started)
        {
            files.DeleteInputs();
        }

        files.Dispose();
        end.Dispose();
        place.Dispose();
    }
}
