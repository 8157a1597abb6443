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
/// The image store of a runner. The first use opens it: the runner's start, or a caller that manages images. Both use the same store, so that
/// images pulled here are there for runs, and images of runs are in use here.
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

    // Set by the first use of a caller: the store then stays open for the next one.
    private volatile ImageStore? _kept;
    private bool _isDisposed;

    /// <param name="options">The options; they must not change.</param>
    /// <param name="loggers">Creates the loggers.</param>
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

    /// <summary>Opens the store for a runner. It stays open at least until the result is disposed.</summary>
    /// <param name="cancellationToken">Cancels the operation.</param>
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

    /// <summary>Disposes the store as <see cref="DisposeAsync"/> does, for containers that are disposed synchronously.</summary>
    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();

    /// <summary>
    /// Cancels pulls and unmounts the roots. Dispose the runners that use the store first. A failure is logged, and the next start on this host
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
            // Leftovers are logged, as for a runner: they must not prevent an orderly shutdown of the application.
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
            await new StartupReconciler(_options.Home, _time, _loggers.CreateLogger("Boxer")).ReconcileAsync().ConfigureAwait(false);
            InstanceDirectory instance = cleanup.Push(InstanceDirectory.Create(InstanceDirectory.DefaultBase()));
            string initPath = await InitBinary.InstallAsync(InitBinary.Find(), _options.Home, cancellationToken).ConfigureAwait(false);
            string topLayer = TopLayer.Create(Path.Join(instance.Directory, "top"), initPath);
            ImageStore store = cleanup.Push(new ImageStore(StoreOptions(Path.Join(instance.Directory, "roots"), topLayer)));
            await StartupReconciler.ReconcileImagesAsync(store).ConfigureAwait(false);
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

    /// <summary>A runner's use of the store. Disposing it ends the use.</summary>
    /// <param name="images">The store.</param>
    /// <param name="store">The store, opened.</param>
    /// <param name="initPath">The path of PID 1's program on this host.</param>
    /// <param name="instance">
    /// The instance directory of the store, for the runner too. One runner at a time gets it; <see langword="null"/> for the others.
    /// </param>
    internal sealed class Use(RunnerImages images, ImageStore store, string initPath, InstanceDirectory? instance) : IAsyncDisposable
    {
        internal ImageStore Store => store;

        internal string InitPath => initPath;

        internal InstanceDirectory? Instance => instance;

        public ValueTask DisposeAsync() => images.LeaveAsync(instance is not null);
    }
}
