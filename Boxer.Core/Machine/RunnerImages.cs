using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Images;
using Boxer.Images.Registry;
using Boxer.Images.Store;
using Boxer.Linux;
using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;
using Boxer.Validation;
using Microsoft.Extensions.Logging;

namespace Boxer.Machine;

/// <summary>
/// The image store of a runner, opened by whichever comes first: the runner's start, or a caller that manages images. Both use one store, so that
/// what is pulled here is there for runs, and what runs is in use here. Nothing is opened before.
/// </summary>
internal sealed class RunnerImages : IImageStore, IAsyncDisposable, IDisposable
{
    private readonly BoxerOptions _options;
    private readonly ILoggerFactory _loggers;
    private readonly TimeProvider _time;
    private readonly SemaphoreSlim _gate = new(1, 1);
    private Opened? _opened;
    private int _hosts;
    private bool _hasInstanceUser;

    // Once a caller has used it, it stays open for the next.
    private volatile ImageStore? _kept;
    private bool _isDisposed;

    /// <param name="options">The options, which do not change.</param>
    /// <param name="loggers">Makes loggers.</param>
    /// <param name="time">The clock.</param>
    internal RunnerImages(BoxerOptions options, ILoggerFactory loggers, TimeProvider time)
    {
        _options = options;
        _loggers = loggers;
        _time = time;
    }

    /// <inheritdoc/>
    public async Task<IImageLease> AcquireAsync(ImageReference reference, ImageAcquireOptions options, CancellationToken cancellationToken = default) =>
        await (await OpenAsync(cancellationToken).ConfigureAwait(false)).AcquireAsync(reference, options, cancellationToken).ConfigureAwait(false);

    /// <inheritdoc/>
    public async Task<string> PullAsync(ImageReference reference, IProgress<PullProgress>? progress = null, CancellationToken cancellationToken = default) =>
        await (await OpenAsync(cancellationToken).ConfigureAwait(false)).PullAsync(reference, progress, cancellationToken).ConfigureAwait(false);

    /// <inheritdoc/>
    public async Task<string> ImportAsync(
        ImageSource source, ImageReference reference, IProgress<PullProgress>? progress = null, CancellationToken cancellationToken = default) =>
        await (await OpenAsync(cancellationToken).ConfigureAwait(false)).ImportAsync(source, reference, progress, cancellationToken).ConfigureAwait(false);

    /// <inheritdoc/>
    public async Task<IReadOnlyList<ImageInfo>> ListAsync(CancellationToken cancellationToken = default) =>
        await (await OpenAsync(cancellationToken).ConfigureAwait(false)).ListAsync(cancellationToken).ConfigureAwait(false);

    /// <inheritdoc/>
    public async Task<ImageRemoval> RemoveAsync(ImageReference reference, CancellationToken cancellationToken = default) =>
        await (await OpenAsync(cancellationToken).ConfigureAwait(false)).RemoveAsync(reference, cancellationToken).ConfigureAwait(false);

    /// <inheritdoc/>
    public async Task<ImagePruneResult> PruneAsync(TimeSpan? unusedFor, CancellationToken cancellationToken = default) =>
        await (await OpenAsync(cancellationToken).ConfigureAwait(false)).PruneAsync(unusedFor, cancellationToken).ConfigureAwait(false);

    /// <summary>Opens it for a runner's start, until the use is disposed.</summary>
    internal async Task<Use> EnterAsync(CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            Opened opened = await OpenLockedAsync(cancellationToken).ConfigureAwait(false);
            _hosts++;
            bool isFirst = !_hasInstanceUser;
            _hasInstanceUser = true;
            return new Use(this, opened.Store, opened.InitPath, isFirst ? opened.Instance : null);
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>As <see cref="DisposeAsync"/>, for containers that are disposed synchronously.</summary>
    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();

    /// <summary>
    /// Ends pulls and unmounts the roots. Runners that use it are disposed before. A failure to do so is logged, and the next start on this host
    /// tries again.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        await _gate.WaitAsync().ConfigureAwait(false);
        try
        {
            _isDisposed = true;
            _kept = null;
            await CloseAsync().ConfigureAwait(false);
        }
        catch (AggregateException exception)
        {
            // As for a runner: no reason to end an application otherwise than in order.
            Log.RunnerLeft(_loggers.CreateLogger("Boxer"), exception);
        }
        finally
        {
            _gate.Release();
        }
    }

    private async ValueTask<ImageStore> OpenAsync(CancellationToken cancellationToken)
    {
        if (_kept is { } store)
        {
            return store;
        }

        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            return _kept = (await OpenLockedAsync(cancellationToken).ConfigureAwait(false)).Store;
        }
        finally
        {
            _gate.Release();
        }
    }

    private async Task<Opened> OpenLockedAsync(CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        if (_opened is not null)
        {
            return _opened;
        }

        var cleanup = new CleanupStack();
        try
        {
            PrivateDirectory.Ensure(_options.Home);
            string baseDirectory = InstanceDirectory.DefaultBase();
            await InstanceDirectory.ReconcileAsync(baseDirectory, _time, _loggers.CreateLogger("Boxer")).ConfigureAwait(false);
            InstanceDirectory instance = cleanup.Push(InstanceDirectory.Create(baseDirectory));
            InitBinary.Sweep(_options.Home, _time);
            string initPath = await InitBinary.InstallAsync(InitBinary.Find(), _options.Home, cancellationToken).ConfigureAwait(false);
            string topLayer = TopLayer.Create(Path.Join(instance.Directory, "top"), initPath);
            ImageStore store = cleanup.Push(new ImageStore(StoreOptions(Path.Join(instance.Directory, "roots"), topLayer)));
            await store.CleanAbandonedAsync().ConfigureAwait(false);
            return _opened = new Opened(instance, initPath, store, cleanup);
        }
        catch (Exception exception) when (HostFault.Is(exception))
        {
            await cleanup.AbandonAsync().ConfigureAwait(false);
            throw HostFault.FindInDirectory(_options.Home, nameof(_options.Home), exception)
                ?? new SandboxRuntimeException($"The image store could not be opened: {exception.Message}", exception);
        }
        catch
        {
            await cleanup.AbandonAsync().ConfigureAwait(false);
            throw;
        }
    }

    private async ValueTask LeaveAsync(bool hasInstance)
    {
        await _gate.WaitAsync().ConfigureAwait(false);
        try
        {
            _hosts--;
            _hasInstanceUser &= !hasInstance;
            if (_hosts == 0 && _kept is null)
            {
                await CloseAsync().ConfigureAwait(false);
            }
        }
        finally
        {
            _gate.Release();
        }
    }

    private async ValueTask CloseAsync()
    {
        if (_opened is { } opened)
        {
            _opened = null;
            await opened.Cleanup.DisposeAsync().ConfigureAwait(false);
        }
    }

    private ImageStoreOptions StoreOptions(string roots, string topLayer) => new()
    {
        Home = _options.Home,
        RootsDirectory = roots,
        TopLayerDirectory = topLayer,
        Registries = _options.Registries,
        AllowedRegistries = _options.AllowedRegistries,
        Credentials = _options.DockerConfigPath is { } path ? new DockerConfigCredentials(path) : null,
        MaxImageStoreBytes = _options.MaxImageStoreBytes,
        MinFreeDiskBytes = _options.MinFreeDiskBytes,
        PullMemoryBytes = MemoryBudget.OfPulls(_options, MachineMemory.ReadBytes()),
        PullTimeout = _options.PullTimeout,
        TimeProvider = _time,
        LoggerFactory = _loggers,
    };

    private sealed record Opened(InstanceDirectory Instance, string InitPath, ImageStore Store, CleanupStack Cleanup);

    /// <summary>A runner's use of the store, with what was made for both.</summary>
    /// <param name="images">The store.</param>
    /// <param name="store">The store, opened.</param>
    /// <param name="initPath">PID 1's program.</param>
    /// <param name="instance">The directory of the store, for the runner too; <see langword="null"/> for all but one that use it at a time.</param>
    internal sealed class Use(RunnerImages images, ImageStore store, string initPath, InstanceDirectory? instance) : IAsyncDisposable
    {
        internal ImageStore Store => store;

        internal string InitPath => initPath;

        internal InstanceDirectory? Instance => instance;

        public ValueTask DisposeAsync() => images.LeaveAsync(instance is not null);
    }
}
