using Boxer.Admission;
using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Images;
using Boxer.Images.Roots;
using Boxer.Images.Store;
using Boxer.Linux;
using Boxer.Native;
using Boxer.Pool;
using Boxer.Processes;
using Boxer.Runtime;
using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;
using Boxer.Validation;
using Microsoft.Extensions.Logging;

namespace Boxer.Machine;

/// <summary>
/// Prepares this host for one runner, once. Concurrent callers share one attempt and its failure; later callers start a new one. Disposing it
/// removes what the preparation created.
/// </summary>
internal sealed class HostPreparation : IAsyncDisposable
{
    private readonly CheckedOptions _options;
    private readonly IImageStore _images;
    private readonly AdmissionQueue _admission;
    private readonly PoolMetrics _metrics;
    private readonly ILogger _logger;
    private readonly TimeProvider _time;
    private readonly CancellationToken _stopping;
    private readonly SharedOperations<PreparedHost> _attempts;
    private readonly SemaphoreSlim _preparing = new(1, 1);
    private volatile PreparedHost? _ready;

    /// <param name="options">The options of the runner.</param>
    /// <param name="images">The application's own store, or a <see cref="RunnerImages"/>.</param>
    /// <param name="admission">Promises memory to the sandboxes of the pool.</param>
    /// <param name="metrics">The metrics of the pool.</param>
    /// <param name="logger">The log.</param>
    /// <param name="time">The clock.</param>
    /// <param name="stopping">Cancelled when the runner is disposed: sandboxes that do not end are no longer waited for.</param>
    internal HostPreparation(
        CheckedOptions options, IImageStore images, AdmissionQueue admission, PoolMetrics metrics, ILogger logger, TimeProvider time, CancellationToken stopping)
    {
        _options = options;
        _images = images;
        _admission = admission;
        _metrics = metrics;
        _logger = logger;
        _attempts = new SharedOperations<PreparedHost>(logger);
        _time = time;
        _stopping = stopping;
    }

    /// <summary>The host; <see langword="null"/> until it is prepared.</summary>
    internal PreparedHost? Ready => _ready;

    /// <summary>Gets the prepared host, and prepares it if it is not ready.</summary>
    /// <param name="patience">Maximum time to wait.</param>
    /// <param name="cancellationToken">Cancels the wait. The attempt is undone if nobody else waits for it.</param>
    /// <exception cref="SandboxCapacityException">The host was not ready in time.</exception>
    /// <exception cref="SandboxRuntimeException">runsc is missing, too old or broken.</exception>
    /// <exception cref="SandboxPrivilegeException">A directory or a cgroup cannot be created, or belongs to another user.</exception>
    internal async ValueTask<PreparedHost> GetAsync(TimeSpan patience, CancellationToken cancellationToken)
    {
        ThrowIfStopping();
        if (_ready is { } ready)
        {
            return ready;
        }

        using var deadline = new CancellationTokenSource(patience, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            return await _attempts.RunAsync("", (_, nobodyWaits) => AttemptAsync(nobodyWaits), null, either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            ThrowIfStopping();
            throw new SandboxCapacityException($"This host was not ready for sandboxes within {patience.TotalSeconds:0.###} s.", TimeSpan.FromSeconds(1));
        }
    }

    /// <summary>Cancels the attempts and removes what was created. A failure to remove it is logged; the next start on this host tries again.</summary>
    public async ValueTask DisposeAsync()
    {
        // Afterwards no attempt can make the host ready.
        await _attempts.DisposeAsync().ConfigureAwait(false);
        try
        {
            if (_ready is not null)
            {
                await _ready.DisposeAsync().ConfigureAwait(false);
            }
        }
        catch (AggregateException exception)
        {
            // A process that the kernel does not let die must not keep an application from an orderly end.
            Log.RunnerLeft(_logger, exception);
        }
        finally
        {
            _preparing.Dispose();
        }
    }

    private void ThrowIfStopping() => ObjectDisposedException.ThrowIf(_stopping.IsCancellationRequested, typeof(ISandboxRunner));

    private async Task<PreparedHost> AttemptAsync(CancellationToken cancellationToken)
    {
        // An earlier attempt that was cancelled may still undo its steps.
        await _preparing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_ready is { } ready)
            {
                return ready;
            }

            _ready = await PrepareAsync(cancellationToken).ConfigureAwait(false);
            _ready.Pool?.FillListedImages();
            return _ready;
        }
        finally
        {
            _preparing.Release();
        }
    }

    private async Task<PreparedHost> PrepareAsync(CancellationToken cancellationToken)
    {
        BoxerOptions options = _options.Values;
        var reconciler = new StartupReconciler(options.Home, _time, _logger);
        await reconciler.ReconcileNetworksAsync(_options.Networks.Values, cancellationToken).ConfigureAwait(false);
        var cleanup = new CleanupStack();
        try
        {
            return await CreateAsync(reconciler, cleanup, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (HostFault.Is(exception))
        {
            await cleanup.AbandonAsync().ConfigureAwait(false);
            throw HostFault.FindInDirectory(options.Home, nameof(options.Home), exception)
                ?? new SandboxRuntimeException($"This host could not be prepared: {exception.Message}", exception);
        }
        catch
        {
            await cleanup.AbandonAsync().ConfigureAwait(false);
            throw;
        }
    }

    private async Task<PreparedHost> CreateAsync(StartupReconciler reconciler, CleanupStack cleanup, CancellationToken cancellationToken)
    {
        BoxerOptions options = _options.Values;
        PrivateDirectory.Ensure(options.Home);
        await reconciler.ReconcileAsync().ConfigureAwait(false);
        RunnerImages.Use? shared = _images is RunnerImages ours ? cleanup.Push(await ours.EnterAsync(cancellationToken).ConfigureAwait(false)) : null;
        InstanceDirectory instance = shared?.Instance ?? cleanup.Push(InstanceDirectory.Create(InstanceDirectory.DefaultBase()));
        DescriptorPoller poller = cleanup.Push(new DescriptorPoller());
        RunscCommandLine runsc = await RunscCommandLine.ProbeAsync(
            poller, options.RunscPath, options.Platform, rootless: Unistd.geteuid() != 0, _time, cancellationToken).ConfigureAwait(false);
        CgroupHierarchy? cgroups = CreateCgroups(instance, cleanup);
        string initPath = shared?.InitPath ?? await InitBinary.InstallAsync(InitBinary.Find(), options.Home, cancellationToken).ConfigureAwait(false);
        var programs = new RuntimePrograms(instance.Directory);
        programs.Add(runsc.Path);
        programs.Add(initPath);
        (IImageStore images, bool bindInit) = shared is not null ? (shared.Store, false) : AddTopLayer(instance, initPath, cleanup);
        var launcher = new SandboxLauncher(
            runsc,
            initPath,
            bindInit,
            Directory.CreateDirectory(Path.Join(instance.Directory, "s")).FullName,
            programs,
            cgroups,
            poller,
            options.BootTimeout,
            _time,
            _logger,
            _stopping);

        // Last, so that it is disposed first: pooled sandboxes use all the rest.
        RunnerPool? pool = (options.Pool.Enabled ?? cgroups?.CanFreeze == true)
            ? cleanup.Push(new RunnerPool(_options, launcher, images, _admission, _metrics, _time, _logger, _stopping))
            : null;
        Log.InstanceReady(_logger, instance.Id, runsc.Version, options.Platform, cgroups?.Description ?? "no cgroups");
        return new PreparedHost(launcher, images, pool, cgroups, cleanup);
    }

    private CgroupHierarchy? CreateCgroups(InstanceDirectory instance, CleanupStack cleanup)
    {
        BoxerOptions options = _options.Values;
        if (options.IgnoreCgroups)
        {
            Log.CgroupsIgnored(_logger);
            return null;
        }

        // Recorded first, so that the next start finds them if this process dies.
        CgroupHierarchy cgroups = CgroupHierarchy.Locate(CgroupMounts.Read(), options.CgroupParent, instance.Id, _time);
        instance.RecordCgroups(cgroups);
        cleanup.Push(cgroups);
        cgroups.Create();
        return cgroups;
    }

    // The roots of an application's own store lack PID 1's program. Without overlay mounts it is mounted into each sandbox instead.
    private (IImageStore Images, bool BindInit) AddTopLayer(InstanceDirectory instance, string initPath, CleanupStack cleanup)
    {
        if (OverlayMounts.GetUnavailableReason(Path.Join(instance.Directory, "probe")) is not null)
        {
            return (_images, true);
        }

        string topLayer = TopLayer.Create(Path.Join(instance.Directory, "top"), initPath);
        return (cleanup.Push(new OverlaidImageStore(_images, Path.Join(instance.Directory, "roots"), topLayer)), false);
    }
}
