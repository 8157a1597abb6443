using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Versioning;
using Boxer.Admission;
using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Machine;
using Boxer.Images;
using Boxer.Images.Store;
using Boxer.Linux;
using Boxer.Networking;
using Boxer.Pool;
using Boxer.Running;
using Boxer.Runtime;
using Boxer.Runtime.Init;
using Boxer.Validation;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Boxer;

/// <summary>
/// Runs commands in gVisor sandboxes on this machine. It needs Linux and gVisor's runsc; as root it holds every limit, as another user
/// see <see cref="BoxerOptions.IgnoreCgroups"/>. Disposing it ends what runs and removes everything that it made on this host, but not
/// <see cref="BoxerOptions.Home"/> with its images.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed class SandboxRunner : ISandboxRunner, IAsyncDisposable, IDisposable
{
    private const int RunsForEachProcessor = 4;
    private readonly CheckedOptions _checked;
    private readonly BoxerOptions _options;
    private readonly IReadOnlyList<INetworkMode> _networks;
    private readonly RunnerImages? _ownImages;
    private readonly ILoggerFactory _loggers;
    private readonly ILogger _logger;
    private readonly TimeProvider _time;
    private readonly WarmUps _warmUps;
    private readonly AdmissionQueue _admission;
    private readonly RequestValidator _validator;
    private readonly BoxerMetrics _metrics;
    private readonly SharedOperations<PreparedHost> _starts = new();
    private readonly SemaphoreSlim _starting = new(1, 1);
    private readonly CancellationTokenSource _disposing = new();
    private readonly Lazy<Task> _disposal;
    private readonly BackgroundTasks _pending = new();
    private volatile PreparedHost? _host;
    private int _disposed;

    /// <summary>Makes a runner. The host is not touched before <see cref="StartAsync"/> or the first run.</summary>
    /// <param name="options">The options; read now and not again.</param>
    /// <param name="networks">The network modes that requests can name; a later one replaces an earlier one of the same name.</param>
    /// <param name="images">Where images come from; <see langword="null"/>: registries, kept in <see cref="BoxerOptions.Home"/>.</param>
    /// <param name="loggers">Makes loggers; <see langword="null"/>: none.</param>
    /// <param name="time">The clock; <see langword="null"/>: the system's.</param>
    /// <exception cref="ArgumentException">The options are wrong; every fault is listed. Or a mode has a name that no request could use.</exception>
    public SandboxRunner(
        BoxerOptions options, IEnumerable<INetworkMode> networks, IImageStore? images = null, ILoggerFactory? loggers = null, TimeProvider? time = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(networks);
        _checked = CheckedOptions.Check(options, networks);
        _options = options = _checked.Values;
        _networks = [.. _checked.Networks.Values];
        _warmUps = new WarmUps(_checked.PoolImages, _checked.DefaultLimits, _options.Platform);
        _loggers = loggers ?? NullLoggerFactory.Instance;
        _logger = _loggers.CreateLogger("Boxer");
        _time = time ?? TimeProvider.System;
        Images = images ?? new RunnerImages(_options, _loggers, _time);
        _ownImages = images is null ? (RunnerImages)Images : null;
        var bounds = new AdmissionBounds
        {
            Running = options.MaxConcurrentRuns ?? Environment.ProcessorCount * RunsForEachProcessor,
            MemoryBytes = _checked.MemoryBytes,
            Processors = Environment.ProcessorCount,
            CpuOvercommit = options.CpuOvercommit,
            Waiting = options.MaxQueuedRuns,
            RunningPerKey = options.MaxConcurrentRunsPerKey,
            WaitingPerKey = options.MaxQueuedRunsPerKey,
            Timeout = options.QueueTimeout,
        };
        _admission = new AdmissionQueue(bounds, _time) { IdleWanted = () => _host?.Pool?.GiveUpMemory() };
        _validator = new RequestValidator(
            _checked.Networks,
            _checked.AllowedNetworks,
            _checked.DefaultLimits,
            _options.MaxLimits,
            _checked.MemoryBytes,
            Environment.ProcessorCount)
        {
            Egress = _checked.Egress,
            AllowsWiderEgress = _options.AllowWiderEgress,
            PullPolicy = _options.PullPolicy,
        };
        _metrics = new BoxerMetrics(() => _admission.Count);
        _disposal = new Lazy<Task>(DisposeOnceAsync);
    }

    /// <summary>
    /// The images that runs use: the store that was given, or the runner's own, which is disposed with it. What is pulled or imported here needs no
    /// pull in a run. It needs neither runsc nor <see cref="StartAsync"/>.
    /// </summary>
    public IImageStore Images { get; }

    /// <summary>What goes with this runner.</summary>
    internal IAsyncDisposable? Owned { get; init; }

    /// <summary>Name of this runner in its container; <see langword="null"/>: none.</summary>
    internal string? Name
    {
        init => _metrics.Runner.Name = value;
    }

    /// <summary>
    /// Prepares this host: takes away what dead instances left, looks for runsc, makes cgroups and directories. Runs do it by themselves;
    /// an application that calls it when it starts learns at once what is missing.
    /// </summary>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="SandboxRuntimeException">runsc is missing, too old or broken.</exception>
    /// <exception cref="SandboxPrivilegeException">A directory or a cgroup cannot be made or is not ours.</exception>
    public async Task StartAsync(CancellationToken cancellationToken = default) => await GetHostAsync(Timeout.InfiniteTimeSpan, cancellationToken).ConfigureAwait(false);

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
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        return StreamCoreAsync(new SandboxRequest(request), cancellationToken);
    }

    /// <summary>As <see cref="DisposeAsync"/>, for containers that are disposed synchronously; it blocks until everything is cleaned up.</summary>
    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();

    /// <summary>
    /// Kills what runs, waits until it is cleaned up, and gives back what this runner has on the host. A failure to do so is logged, and the
    /// next start on this host tries again.
    /// </summary>
    public ValueTask DisposeAsync() => new(_disposal.Value);

    private async Task DisposeOnceAsync()
    {
        _disposed = 1;
        await _disposing.CancelAsync().ConfigureAwait(false);
        await _pending.WhenAllAsync().ConfigureAwait(false);

        // After this nobody can be about to prepare the host.
        await _starts.DisposeAsync().ConfigureAwait(false);
        try
        {
            if (_host is not null)
            {
                await _host.DisposeAsync().ConfigureAwait(false);
            }
        }
        catch (AggregateException exception)
        {
            // A process that the kernel holds is no reason to end an application otherwise than in order.
            Log.RunnerLeft(_logger, exception);
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
            _starting.Dispose();
        }
    }

    private async IAsyncEnumerable<SandboxEvent> StreamCoreAsync(SandboxRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var events = new RunEvents(request.KeepStandardOutput);
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _disposing.Token);
        Task run = _pending.Add(RunIntoAsync(request, events, ended.Token, cancellationToken));
        try
        {
            await foreach (SandboxEvent item in events.ReadAllAsync().ConfigureAwait(false))
            {
                yield return item;
            }
        }
        finally
        {
            await ended.CancelAsync().ConfigureAwait(false);
            await run.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task RunIntoAsync(SandboxRequest request, RunEvents events, CancellationToken ended, CancellationToken callers)
    {
        string id = $"boxer-{Guid.NewGuid()}";
        try
        {
            SandboxResult result = await WalkAsync(id, request, events, ended).ConfigureAwait(false);
            events.Add(new SandboxEnded(result));
            events.Complete();
        }
        catch (OperationCanceledException) when (_disposing.IsCancellationRequested && !callers.IsCancellationRequested)
        {
            events.Complete(new SandboxRuntimeException("The runner was disposed while the command ran.").ForRun(request.Image, id, events.MayHaveStarted));
        }
        catch (OperationCanceledException exception) when (callers.IsCancellationRequested)
        {
            events.Complete(new OperationCanceledException(exception.Message, exception, callers));
        }
        catch (SandboxException exception)
        {
            events.Complete(exception.ForRun(request.Image, id, events.MayHaveStarted));
        }
        catch (Exception exception)
        {
            events.Complete(exception);
        }
    }

    private async Task<SandboxResult> WalkAsync(string id, SandboxRequest submitted, RunEvents events, CancellationToken cancellationToken)
    {
        using var trace = new RunTrace(_metrics, _time, id);
        var held = new CleanupStack();
        try
        {
            CheckedRequest request = _validator.Validate(submitted);
            (ImageReference reference, INetworkMode mode, ResourceLimits limits) = (request.Image, request.Network, request.Limits);
            trace.Network = mode.Name;
            if (mode.GetUnavailableReason() is { } obstacle)
            {
                throw new SandboxPrivilegeException($"The network mode '{mode.Name}' cannot be used: {obstacle}")
                {
                    PublicMessage = $"The network mode '{mode.Name}' cannot be used on this host; use another one, such as 'none'.",
                };
            }

            AdmissionQueue.Ticket place = held.Push(_admission.Enter(request.FairnessKey));
            PreparedHost host = await GetHostAsync(_options.QueueTimeout + _options.BootTimeout, cancellationToken).ConfigureAwait(false);
            (IImageLease image, place) = await trace.StageAsync("image", () => AcquireImageAsync(host, request, place, held, trace, events, cancellationToken)).ConfigureAwait(false);
            var accounts = new ImageAccounts(image.RootPath);
            ImageUser user = CommandPlanner.ResolveUser(request.User, image.Config, accounts);
            held.Push(await trace.StageAsync("queue", () => place.AcquireSlotAsync(limits.MemoryBytes!.Value, cancellationToken)).ConfigureAwait(false));

            // A pooled sandbox can always be replaced. A booted one is replaced once, if it waited for processors.
            for (bool mayBootAgain = true; ;)
            {
                (Sandbox Sandbox, INetworkAttachment Network, GuestNetwork Guest)? warm =
                    await TakeWarmAsync(host, reference, image.Digest, mode, limits.MemoryBytes!.Value, request.Egress, held, trace, cancellationToken).ConfigureAwait(false);
                (Sandbox sandbox, INetworkAttachment network, GuestNetwork guest) =
                    warm ?? await BootAsync(host, id, image, mode, request.Egress, held, trace, cancellationToken).ConfigureAwait(false);
                CommandPlan work = CommandPlanner.Build(request, image.Config, accounts, user, guest, _options.Platform, host.CountsCpu);
                Task<IDisposable> promise = place.AcquireProcessorsAsync(limits.CpuCores!.Value, isExclusive: limits.CpuTime is not null, cancellationToken);
                bool isReplaceable = warm is not null || (mayBootAgain && !promise.IsCompleted);
                mayBootAgain &= warm is not null;
                Exception? lost = null;
                try
                {
                    using IDisposable promised = await trace.StageAsync("processors", () => WaitFrozenAsync(sandbox, promise, mode.SupportsFreeze)).ConfigureAwait(false);
                    SandboxEnd end = await sandbox.RunAsync(
                        work,
                        promised,
                        () => events.Add(new SandboxStarted(id)),
                        (stream, data) => events.Add(new SandboxDataReceived(stream, data)),
                        _disposing.Token,
                        cancellationToken).ConfigureAwait(false);
                    if (!isReplaceable || sandbox.HasStarted || end.Termination.Kind != TerminationKind.SandboxDied)
                    {
                        return trace.End(end, await ReportAsync(id, network, cancellationToken).ConfigureAwait(false), image.Digest, host.FindUnenforced(limits, user.Uid), _logger);
                    }
                }
                catch (Exception exception) when (isReplaceable && !sandbox.HasStarted && exception is SandboxRuntimeException or IOException or InitProtocolException)
                {
                    lost = exception;
                }
                finally
                {
                    events.MayHaveStarted = sandbox.MayHaveStarted;
                }

                // What is frozen does not show that it was killed. The run has done nothing yet.
                events.MayHaveStarted = false;
                Log.WaitingSandboxDied(_logger, id, lost);
                sandbox.Kill();
            }
        }
        catch (Exception exception) when (HostFault.Is(exception) || exception is InitProtocolException)
        {
            var fault = new SandboxRuntimeException($"The sandbox failed on this host: {exception.Message}", exception);
            trace.Fail(fault);
            throw fault;
        }
        catch (Exception exception)
        {
            trace.Fail(exception);
            throw;
        }
        finally
        {
            // Off the caller's path. The running slot is given back when the sandbox is gone, so that clean-up cannot pile up.
            _ = _pending.Add(CleanUpAsync(id, held, trace.StartCleanup()));
        }
    }

    // A run that came to its end is told, whatever becomes of the report.
    private async Task<NetworkReport?> ReportAsync(string id, INetworkAttachment network, CancellationToken cancellationToken)
    {
        try
        {
            return (await network.ReportAsync(cancellationToken).ConfigureAwait(false)).Bound();
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            Log.NetworkNotReported(_logger, id, exception);
            return null;
        }
    }

    // Who waits for a registry keeps no place that runs of images that are here could have.
    private async Task<(IImageLease Image, AdmissionQueue.Ticket Place)> AcquireImageAsync(
        PreparedHost host, CheckedRequest request, AdmissionQueue.Ticket place, CleanupStack held, RunTrace trace, RunEvents events, CancellationToken cancellationToken)
    {
        (ImageReference reference, PullPolicy policy) = (request.Image, request.PullPolicy);
        if (policy != PullPolicy.Always || reference.Digest is not null)
        {
            try
            {
                return (held.Push(await host.Images.AcquireAsync(reference, new ImageAcquireOptions { Policy = PullPolicy.Never }, cancellationToken).ConfigureAwait(false)), place);
            }
            catch (ImageNotFoundException) when (policy != PullPolicy.Never)
            {
                // It is pulled.
            }
        }

        place.Dispose();
        using (_admission.EnterPull(request.FairnessKey))
        {
            using var pulling = new PullEvents(reference.ToString(), events, _time);
            if (policy == PullPolicy.Missing)
            {
                pulling.Begin();
            }

            IImageLease image = held.Push(await trace.StageAsync(
                "pull", () => host.Images.AcquireAsync(reference, new ImageAcquireOptions { Policy = policy, Progress = pulling }, cancellationToken)).ConfigureAwait(false));
            return (image, held.Push(_admission.Enter(request.FairnessKey)));
        }
    }

    private async Task KeepWarmAsync(PreparedHost host, ImageReference reference, INetworkMode mode)
    {
        await Task.Yield();
        try
        {
            IImageLease image = await host.Images.AcquireAsync(reference, new ImageAcquireOptions { Policy = _options.PullPolicy }, _disposing.Token).ConfigureAwait(false);
            string digest = image.Digest;
            await image.DisposeAsync().ConfigureAwait(false);
            host.Pool!.Keep(new PoolKey(digest, mode.Name), reference.ToString(), cancel => PooledSandbox.BootAsync(host.Launcher, host.Images, reference, digest, mode, _warmUps, cancel));
        }
        catch (Exception exception)
        {
            // The first run of it says what is wrong, and keeps it warm from then on.
            Log.PoolImageFailed(_logger, reference.ToString(), exception);
        }
    }

    private PooledSandbox? TakeWarm(PreparedHost host, ImageReference reference, string digest, INetworkMode mode, long memoryBytes) => mode.SupportsPooling
        ? host.Pool?.Take(
            new PoolKey(digest, mode.Name), reference.ToString(), cancel => PooledSandbox.BootAsync(host.Launcher, host.Images, reference, digest, mode, _warmUps, cancel), memoryBytes)
        : null;

    private async Task<(Sandbox Sandbox, INetworkAttachment Network, GuestNetwork Guest)?> TakeWarmAsync(
        PreparedHost host, ImageReference reference, string digest, INetworkMode mode, long memoryBytes, NetworkPolicy policy, CleanupStack held, RunTrace trace, CancellationToken cancellationToken)
    {
        while (TakeWarm(host, reference, digest, mode, memoryBytes) is { } warm)
        {
            held.Push(warm);
            try
            {
                return (warm.Sandbox, warm.Network, await trace.StageAsync("network", () => warm.Network.ApplyAsync(policy, cancellationToken)).ConfigureAwait(false));
            }
            catch (Exception) when (!warm.Network.IsUsable && !cancellationToken.IsCancellationRequested)
            {
                // What it was booted with was taken away while it waited: another stands in.
            }
        }

        return null;
    }

    // Those who run come before those who may run later: where a mode has no more, what waits gives up its own.
    private static async Task<INetworkAttachment> PrepareAsync(PreparedHost host, string id, INetworkMode mode, CancellationToken cancellationToken)
    {
        while (true)
        {
            try
            {
                return await mode.PrepareAsync(id, cancellationToken).ConfigureAwait(false);
            }
            catch (SandboxCapacityException exception)
            {
                if (host.Pool is null || !await host.Pool.GiveUpAsync(mode.Name, exception.RetryAfter).WaitAsync(cancellationToken).ConfigureAwait(false))
                {
                    throw;
                }
            }
        }
    }

    private static async Task<(Sandbox Sandbox, INetworkAttachment Network, GuestNetwork Guest)> BootAsync(
        PreparedHost host, string id, IImageLease image, INetworkMode mode, NetworkPolicy policy, CleanupStack held, RunTrace trace, CancellationToken cancellationToken)
    {
        INetworkAttachment network = held.Push(await trace.StageAsync("network", () => PrepareAsync(host, id, mode, cancellationToken)).ConfigureAwait(false));

        // Nothing of the guest's runs while the sandbox boots, so its rules are laid meanwhile.
        Task<GuestNetwork> applying = Task.Run(() => network.ApplyAsync(policy, cancellationToken), CancellationToken.None);
        Sandbox sandbox;
        try
        {
            sandbox = await trace.StageAsync("sandbox", () => host.Launcher.BootAsync(held, image, network.Runtime, cancellationToken)).ConfigureAwait(false);
        }
        finally
        {
            await ((Task)applying).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        return (sandbox, network, await applying.ConfigureAwait(false));
    }

    // A sandbox that is awake takes a few percent of a processor, also when it has nothing to do.
    private static async Task<IDisposable> WaitFrozenAsync(Sandbox sandbox, Task<IDisposable> promise, bool mayFreeze)
    {
        if (promise.IsCompleted || !mayFreeze)
        {
            return await promise.ConfigureAwait(false);
        }

        try
        {
            sandbox.Freeze();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // It waits awake, or is gone, which the hand-over finds.
        }

        IDisposable processors = await promise.ConfigureAwait(false);
        try
        {
            sandbox.Thaw();
            return processors;
        }
        catch
        {
            processors.Dispose();
            throw;
        }
    }

    // Those who run get the processors, and not those who may run later; where none waits for these, what is left of them.
    private bool IsBusy(bool isUrgent)
    {
        return _admission.IsAnyWaiting || _admission.Count.Running >= Math.Max(1, isUrgent ? Environment.ProcessorCount : Environment.ProcessorCount / 2);
    }

    private async Task CleanUpAsync(string id, CleanupStack held, Activity? activity)
    {
        using Activity? timed = activity;
        await Task.Yield();
        long start = _time.GetTimestamp();
        try
        {
            await held.DisposeAsync().ConfigureAwait(false);
        }
        catch (AggregateException exception)
        {
            Log.CleanupFailed(_logger, id, exception);
        }

        _metrics.Stage("cleanup", _time.GetElapsedTime(start));
        _host?.Pool?.Wake();
    }

    // Those who wait share one attempt, and its failure; whoever comes later makes another.
    private async ValueTask<PreparedHost> GetHostAsync(TimeSpan patience, CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        if (_host is { } ready)
        {
            return ready;
        }

        using var deadline = new CancellationTokenSource(patience, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            return await _starts.RunAsync("", (_, nobodyWaits) => MakeHostAsync(nobodyWaits), null, either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            ObjectDisposedException.ThrowIf(_disposed != 0, this);
            throw new SandboxCapacityException($"This host was not ready for sandboxes within {patience.TotalSeconds:0.###} s.", TimeSpan.FromSeconds(1));
        }
    }

    private async Task<PreparedHost> MakeHostAsync(CancellationToken cancellationToken)
    {
        // An attempt that everybody gave up may still be on its way out.
        await _starting.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_host is { } ready)
            {
                return ready;
            }

            foreach (INetworkMode mode in _networks)
            {
                try
                {
                    await mode.ReconcileAsync(cancellationToken).ConfigureAwait(false);
                }
                catch (Exception exception) when (exception is not OperationCanceledException)
                {
                    // Other modes can do without; the next start tries again.
                    Log.NetworkReconcileFailed(_logger, mode.Name, exception);
                }
            }

            PreparedHost host = await PreparedHost.CreateAsync(_checked, Images, IsBusy, _admission, _metrics.Pool, _loggers, _time, _disposing.Token, cancellationToken).ConfigureAwait(false);
            _host = host;
            if (host.Pool is not null && _networks.FirstOrDefault(mode => mode.Name == SandboxPool<PooledSandbox>.KeptNetwork) is { } kept)
            {
                foreach (PoolImage image in _checked.PoolImages.Where(image => image.Count > 0))
                {
                    _ = _pending.Add(KeepWarmAsync(host, image.Image, kept));
                }
            }

            return host;
        }
        finally
        {
            _starting.Release();
        }
    }
}
