using System.Runtime.CompilerServices;
using System.Runtime.Versioning;
using Boxer.Admission;
using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Images;
using Boxer.Machine;
using Boxer.Networking;
using Boxer.Running;
using Boxer.Sessions;
using Boxer.Validation;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Boxer;

/// <summary>
/// Runs commands in gVisor sandboxes on this machine, and keeps sandboxes as sessions. It requires Linux and gVisor's runsc. As root it enforces every limit; for other users see
/// <see cref="BoxerOptions.IgnoreCgroups"/>. Disposing the runner kills its runs, ends its sessions and removes everything that it created on this host, except
/// <see cref="BoxerOptions.Home"/> with the images.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed class SandboxRunner : ISandboxRunner, ISandboxSessions, IAsyncDisposable, IDisposable
{
    private const int RunsForEachProcessor = 4;
    private readonly HostPreparation _host;
    private readonly RunServices _services;
    private readonly RunnerSessions _sessions;
    private readonly RunnerImages? _ownImages;
    private readonly BoxerMetrics _metrics;
    private readonly BackgroundTasks _runs = new();
    private readonly CancellationTokenSource _disposing = new();
    private readonly Lazy<Task> _disposal;
    private volatile bool _isDisposed;

    /// <summary>Creates a runner. It does not touch the host before <see cref="StartAsync"/> or the first run.</summary>
    /// <param name="options">The options; copied, so that later changes have no effect.</param>
    /// <param name="networks">The network modes that requests can name. Of two with the same name, the later one is used.</param>
    /// <param name="images">The image store; <see langword="null"/>: images are pulled from registries and kept in <see cref="BoxerOptions.Home"/>.</param>
    /// <param name="loggers">Creates the loggers; <see langword="null"/>: nothing is logged.</param>
    /// <param name="time">The clock; <see langword="null"/>: the system clock.</param>
    /// <exception cref="ArgumentException">The options are invalid; the message lists every fault. Or a mode has a name that no request could use.</exception>
    public SandboxRunner(
        BoxerOptions options, IEnumerable<INetworkMode> networks, IImageStore? images = null, ILoggerFactory? loggers = null, TimeProvider? time = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(networks);
        CheckedOptions checkedOptions = CheckedOptions.Check(options, networks);
        loggers ??= NullLoggerFactory.Instance;
        time ??= TimeProvider.System;
        ILogger logger = loggers.CreateLogger("Boxer");
        Images = images ?? (_ownImages = new RunnerImages(checkedOptions.Values, loggers, time));
        var admission = new AdmissionQueue(BoundsOf(checkedOptions), time);
        _metrics = new BoxerMetrics(() => admission.Count);
        _host = new HostPreparation(checkedOptions, Images, admission, _metrics.Pool, logger, time, _disposing.Token);
        _services = new RunServices
        {
            Options = checkedOptions.Values,
            Validator = ValidatorOf(checkedOptions),
            Admission = admission,
            Host = _host,
            Metrics = _metrics,
            Background = _runs,
            Logger = logger,
            Time = time,
            Disposing = _disposing.Token,
        };
        _sessions = new RunnerSessions(
            _services,
            SessionValidatorOf(checkedOptions),
            new CommandValidator(checkedOptions.Values.MaxLimits),
            checkedOptions.SessionMemoryBytes,
            checkedOptions.SessionMemoryBytesPerKey);
        _disposal = new Lazy<Task>(DisposeOnceAsync);
    }

    /// <summary>
    /// Gets the image store of the runs: the one that was given, or the runner's own, which is disposed with the runner. Images that are pulled or
    /// imported here need no pull in a run. The store works without runsc and before <see cref="StartAsync"/>.
    /// </summary>
    public IImageStore Images { get; }

    /// <summary>An object that is disposed with this runner; <see langword="null"/>: none.</summary>
    internal IAsyncDisposable? Owned { get; init; }

    /// <summary>Name of this runner in its container; <see langword="null"/>: none.</summary>
    internal string? Name
    {
        init => _metrics.Runner.Name = value;
    }

    /// <summary>
    /// Prepares this host: removes leftovers of dead runners, checks runsc, and creates cgroups and directories. The first run does so too; an
    /// application that calls this at its start learns at once what is missing.
    /// </summary>
    /// <param name="cancellationToken">Cancels the wait. The preparation is undone if nobody else waits for it.</param>
    /// <exception cref="SandboxRuntimeException">runsc is missing, too old or broken.</exception>
    /// <exception cref="SandboxPrivilegeException">A directory or a cgroup cannot be created, or belongs to another user.</exception>
    public async Task StartAsync(CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        await _host.GetAsync(Timeout.InfiniteTimeSpan, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async Task<SandboxResult> RunAsync(SandboxRequest request, CancellationToken cancellationToken = default)
    {
        SandboxResult? result = null;
        await foreach (SandboxEvent item in StreamAsync(request, cancellationToken).ConfigureAwait(false))
        {
            if (item is SandboxEnded ended)
            {
                result = ended.Result;
            }
        }

        return result!;
    }

    /// <inheritdoc/>
    public IAsyncEnumerable<SandboxEvent> StreamAsync(SandboxRequest request, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(request);
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        return StreamCoreAsync(new SandboxRequest(request), cancellationToken);
    }

    /// <inheritdoc/>
    public async Task<IOwnedSandboxSession> OpenAsync(SandboxSessionRequest request, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(request);
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        return await _sessions.OpenAsync(new SandboxSessionRequest(request), cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public ValueTask<ISandboxSession?> FindAsync(string id, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(id);
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        cancellationToken.ThrowIfCancellationRequested();
        return ValueTask.FromResult(_sessions.Find(id));
    }

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<ISandboxSession>> ListAsync(string? fairnessKey = null, CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        cancellationToken.ThrowIfCancellationRequested();
        return ValueTask.FromResult(_sessions.List(fairnessKey));
    }

    /// <summary>Disposes the runner as <see cref="DisposeAsync"/> does, for containers that are disposed synchronously. Blocks until everything is removed.</summary>
    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();

    /// <summary>
    /// Kills the runs, ends the sessions, waits until they are cleaned up, and removes what this runner created on the host. A failure to remove something is logged,
    /// and the next start on this host tries again.
    /// </summary>
    public ValueTask DisposeAsync() => new(_disposal.Value);

    private static AdmissionBounds BoundsOf(CheckedOptions options) => new()
    {
        Running = options.Values.MaxConcurrentRuns ?? Environment.ProcessorCount * RunsForEachProcessor,
        MemoryBytes = options.MemoryBytes,
        Processors = Environment.ProcessorCount,
        CpuOvercommit = options.Values.CpuOvercommit,
        Waiting = options.Values.MaxQueuedRuns,
        RunningPerKey = options.Values.MaxConcurrentRunsPerKey,
        WaitingPerKey = options.Values.MaxQueuedRunsPerKey,
        Timeout = options.Values.QueueTimeout,
    };

    private static RequestValidator ValidatorOf(CheckedOptions options) => new(
        options.Networks, options.AllowedNetworks, options.DefaultLimits, options.Values.MaxLimits, options.MemoryBytes, Environment.ProcessorCount)
    {
        Egress = options.Egress,
        AllowsWiderEgress = options.Values.AllowWiderEgress,
        PullPolicy = options.Values.PullPolicy,
    };

    private static SessionRequestValidator SessionValidatorOf(CheckedOptions options) => new(
        options.Networks, options.AllowedNetworks, options.DefaultLimits, options.Values.MaxLimits, options.SessionMemoryBytes, Environment.ProcessorCount)
    {
        Egress = options.Egress,
        AllowsWiderEgress = options.Values.AllowWiderEgress,
        PullPolicy = options.Values.PullPolicy,
        Options = options.Values.Sessions,
        MaxMemoryBytesPerKey = options.SessionMemoryBytesPerKey,
    };

    private async IAsyncEnumerable<SandboxEvent> StreamCoreAsync(SandboxRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var events = new RunEvents(request.KeepStandardOutput);
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _disposing.Token);
        Task run = _runs.RunAsync(() => Run.ExecuteAsync(_services, request, events, ended.Token, cancellationToken));
        try
        {
            await foreach (SandboxEvent item in events.ReadAllAsync().ConfigureAwait(false))
            {
                yield return item;
            }
        }
        finally
        {
            await LoggedCancellation.CancelAsync(ended, _services.Logger).ConfigureAwait(false);
            await run.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task DisposeOnceAsync()
    {
        _isDisposed = true;
        await LoggedCancellation.CancelAsync(_disposing, _services.Logger).ConfigureAwait(false);
        await _runs.WhenAllAsync().ConfigureAwait(false);
        _sessions.Dispose();
        try
        {
            await _host.DisposeAsync().ConfigureAwait(false);
        }
        finally
        {
            if (_ownImages is not null)
            {
                await _ownImages.DisposeAsync().ConfigureAwait(false);
            }

            if (Owned is not null)
            {
                await Owned.DisposeAsync().ConfigureAwait(false);
            }

            _metrics.Dispose();
            _disposing.Dispose();
        }
    }
}
