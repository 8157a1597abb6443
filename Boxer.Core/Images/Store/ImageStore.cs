using System.Runtime.Versioning;
using Boxer.Diagnostics;
using Boxer.Images.Layers;
using Boxer.Images.Manifests;
using Boxer.Images.Registry;
using Boxer.Images.Roots;
using Boxer.Linux;
using Microsoft.Extensions.Logging;

namespace Boxer.Images.Store;

/// <summary>
/// Images of this machine: pulled from registries where they are missing, kept by digest in one directory, and made into one read-only
/// root for each digest. A reference that was pulled once is asked for again only where <see cref="PullPolicy.Always"/> says so; name a
/// digest where it matters which image it is. Several processes may use one directory.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed class ImageStore : IImageStore, IAsyncDisposable
{
    private static readonly TimeSpan NoteInterval = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan CollectInterval = TimeSpan.FromMilliseconds(50);
    private const int CollectAttempts = 20;
    private const long MaxFreeBytes = 1L << 50;
    private readonly ImageStoreOptions _options;
    private readonly ILogger _logger;
    private readonly RegistryEndpoints _places;
    private readonly FileLock? _rootsLock;
    private readonly ImageDirectory _directory;
    private readonly ImageRootKind _kind;
    private readonly ImagePuller _puller;
    private readonly OverlayMounts _mounts;
    private readonly byte[] _topLayer;
    private readonly SemaphoreSlim _pulls;
    private readonly SharedOperations<ImageDigest> _operations = new();
    private readonly ReadyImages _ready;
    private readonly ImageCollector _collector;

    // What a reference means, on the disk and in this process, changes in one.
    private readonly Lock _naming = new();
    private volatile bool _isUncollected;
    private int _disposed;

    /// <summary>Makes a store, and takes away what an earlier process left in <see cref="ImageStoreOptions.RootsDirectory"/>.</summary>
    /// <param name="options">Its options.</param>
    /// <exception cref="ArgumentException">An option cannot be honoured; the message names it and says what to do.</exception>
    /// <exception cref="SandboxPrivilegeException">
    /// A directory is not this process's alone, or overlay mounts were asked for and cannot be made.
    /// </exception>
    public ImageStore(ImageStoreOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options = options.Copy();
        RegistryClientOptions registries = options.ForRegistries();
        ArgumentOutOfRangeException.ThrowIfLessThan(options.PullTimeout, TimeSpan.FromSeconds(1));
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxConcurrentPulls, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxImageBytes, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxImageEntries, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(options.MinFreeDiskBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.MinFreeDiskBytes, MaxFreeBytes);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.PullMemoryBytes, PullMemory.LeastBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.PullMemoryBytes, PullMemory.MostBytes);
        _options = options;
        _logger = options.LoggerFactory.CreateLogger(ImageLog.Category);
        if (options.MaxImageStoreBytes is { } bytes)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(bytes, 1, nameof(options.MaxImageStoreBytes));
        }

        _places = new([.. options.Registries], options.AllowedRegistries);
        ImagePlatform platform = ImagePlatform.ParseOrCurrent(registries.Platform);
        foreach ((string name, string? path) in (ReadOnlySpan<(string, string?)>)[(nameof(options.Home), options.Home), (nameof(options.RootsDirectory), options.RootsDirectory)])
        {
            if (path is not null && !Path.IsPathFullyQualified(path))
            {
                throw new ArgumentException($"{name}: \"{path}\" is not an absolute path; write it out in full.");
            }
        }

        if (options.TopLayerDirectory is not null && !Directory.Exists(options.TopLayerDirectory))
        {
            throw new ArgumentException($"TopLayerDirectory: {options.TopLayerDirectory} is not a directory.");
        }

        if (options.RootsDirectory is not null)
        {
            PrivateDirectory.Ensure(options.RootsDirectory);
            _rootsLock = FileLock.TryTakeDirectory(options.RootsDirectory)
                ?? throw new ArgumentException($"RootsDirectory: {options.RootsDirectory} is another store's; give each its own.");
        }

        try
        {
            if (options.RootsDirectory is not null)
            {
                OverlayMounts.UnmountBelow(options.RootsDirectory);
            }

            _directory = new(options.Home);
        }
        catch
        {
            _rootsLock?.Dispose();
            throw;
        }

        try
        {
            _kind = ChooseKind();
            _topLayer = _kind == ImageRootKind.Flattened ? TopLayerArchive.Pack(options.TopLayerDirectory) : [];
            _mounts = new(options.RootsDirectory ?? _directory.NewTemporaryPath());
            _pulls = new(options.MaxConcurrentPulls);
            _puller = new(options, _directory, _kind, platform, new RegistryHttp(_places, registries));
            _ready = new(UnmakeRoot);
            _collector = new(_directory, _ready.TryRetire);
        }
        catch
        {
            _directory.Dispose();
            _rootsLock?.Dispose();
            throw;
        }
    }

    /// <summary>How this store makes roots.</summary>
    public ImageRootKind RootKind => _kind;

    /// <summary>Removes what pulls of dead processes left in the store, half made or whole. Those of living ones are not touched.</summary>
    internal Task CleanAbandonedAsync() => Task.Run(async () =>
    {
        RemoveAbandoned();
        await TryCollectAsync().ConfigureAwait(false);
    });

    /// <inheritdoc/>
    /// <exception cref="InvalidSandboxRequestException">Images of this registry are not allowed here.</exception>
    public async Task<IImageLease> AcquireAsync(ImageReference reference, ImageAcquireOptions options, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(reference);
        ArgumentNullException.ThrowIfNull(options);
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        IReadOnlyList<RegistryEndpoint> places = _places.For(reference);
        bool always = options.Policy == PullPolicy.Always && reference.Digest is null;
        string name = reference.ToString();
        while (true)
        {
            if (!always && _ready.TryUse(name) is { } ready)
            {
                return Lease(ready, reference);
            }

            ImageDigest made = await _operations.RunAsync(
                $"{options.Policy} {name}",
                (progress, token) => MakeReadyAsync(reference, places, options.Policy, always, progress, token),
                options.Progress,
                cancellationToken).ConfigureAwait(false);

            // Between its making and its use here it may have been removed again.
            if (_ready.TryUse(made) is { } image)
            {
                return Lease(image, reference);
            }
        }
    }

    /// <inheritdoc/>
    /// <exception cref="InvalidSandboxRequestException">Images of this registry are not allowed here.</exception>
    public async Task<string> PullAsync(ImageReference reference, IProgress<PullProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        IImageLease lease = await AcquireAsync(reference, new ImageAcquireOptions { Policy = PullPolicy.Always, Progress = progress }, cancellationToken).ConfigureAwait(false);
        await using (lease.ConfigureAwait(false))
        {
            return lease.Digest;
        }
    }

    /// <inheritdoc/>
    public async Task<string> ImportAsync(
        ImageSource source, ImageReference reference, IProgress<PullProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        IImageLease lease = await AcquireImportedAsync(source, reference, progress, cancellationToken).ConfigureAwait(false);
        await using (lease.ConfigureAwait(false))
        {
            return lease.Digest;
        }
    }

    /// <summary>As <see cref="ImportAsync"/>, and keeps its root until the lease is disposed.</summary>
    internal async Task<IImageLease> AcquireImportedAsync(
        ImageSource source, ImageReference reference, IProgress<PullProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(reference);
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        if (reference.Digest is not null)
        {
            throw new ArgumentException($"{reference} names a digest, which the image has or has not; call it by a tag.", nameof(reference));
        }

        while (true)
        {
            ImageDigest made = await _operations.RunAsync(
                $"import {source} {reference}",
                (listeners, token) => AddAsync(
                    reference, () => _puller.ImportAsync(source, reference, MakeRootAsync, listeners, token), token),
                progress,
                cancellationToken).ConfigureAwait(false);
            if (_ready.TryUse(made) is { } image)
            {
                return Lease(image, reference);
            }
        }
    }

    /// <inheritdoc/>
    public async Task<IReadOnlyList<ImageInfo>> ListAsync(CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        using FileLock shared = await _directory.ShareAsync(cancellationToken).ConfigureAwait(false);
        return await Task.Run(_collector.List, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async Task<ImageRemoval> RemoveAsync(ImageReference reference, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(reference);
        bool isThere = false;
        ImageCollector.Result result = await CollectAsync(
            stored =>
            {
                bool isIt = stored.Reference == reference;
                isThere |= isIt;
                return isIt;
            },
            cancellationToken).ConfigureAwait(false);
        return !isThere ? ImageRemoval.NotFound
            : result.Removed.Any(stored => stored.Reference == reference) ? ImageRemoval.Removed
            : ImageRemoval.InUse;
    }

    /// <inheritdoc/>
    /// <remarks>Leftovers of pulls of dead processes are removed too.</remarks>
    public async Task<ImagePruneResult> PruneAsync(TimeSpan? unusedFor, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(unusedFor ?? TimeSpan.Zero, TimeSpan.Zero, nameof(unusedFor));
        await Task.Run(RemoveAbandoned, cancellationToken).ConfigureAwait(false);
        DateTimeOffset now = _options.TimeProvider.GetUtcNow();
        ImageCollector.Result result = await CollectAsync(stored => now - stored.LastUsed >= unusedFor, cancellationToken).ConfigureAwait(false);
        return new(result.Removed.Count, result.Bytes);
    }

    /// <summary>Ends pulls, unmounts the roots and removes what was half made. Images stay in the store.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        await _operations.DisposeAsync().ConfigureAwait(false);
        foreach (string path in _mounts.UnmountAll())
        {
            ImageLog.RootInUse(_logger, path);
        }

        _ready.Release();
        _puller.Dispose();
        _directory.Dispose();
        _pulls.Dispose();
        _rootsLock?.Dispose();
    }

    private ImageRootKind ChooseKind()
    {
        if (_options.RootKind == ImageRootKind.Flattened)
        {
            return ImageRootKind.Flattened;
        }

        string? obstacle = OverlayMounts.GetUnavailableReason(_directory.NewTemporaryPath());
        if (obstacle is null)
        {
            return ImageRootKind.Overlay;
        }

        if (_options.RootKind == ImageRootKind.Overlay)
        {
            throw new SandboxPrivilegeException($"Overlay mounts cannot be made: {obstacle}. Run as root, or leave RootKind out for flattened trees.");
        }

        ImageLog.Flattening(_logger, obstacle);
        return ImageRootKind.Flattened;
    }

    private ImageLease Lease(ReadyImage image, ImageReference reference)
    {
        DateTimeOffset now = _options.TimeProvider.GetUtcNow();
        if (now - image.Noted > NoteInterval)
        {
            image.Noted = now;
            _directory.Touch(reference, now);
        }

        return new ImageLease(_ready, image);
    }

    private async Task<ImageDigest> MakeReadyAsync(
        ImageReference reference,
        IReadOnlyList<RegistryEndpoint> places,
        PullPolicy policy,
        bool always,
        IProgress<PullProgress> progress,
        CancellationToken cancellationToken)
    {
        using var timeout = new CancellationTokenSource(_options.PullTimeout, _options.TimeProvider);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        CancellationToken token = either.Token;
        try
        {
            // An image that is here does not wait for those that are not.
            if (!always && await MakeReadyOfStoredAsync(reference, token).ConfigureAwait(false) is { } stored)
            {
                return stored;
            }

            if (policy == PullPolicy.Never)
            {
                string message = $"The image {reference} is not in the store, and nothing is pulled here: import it, or pull it beforehand.";
                throw new ImageNotFoundException(message) { PublicMessage = message };
            }

            await _pulls.WaitAsync(token).ConfigureAwait(false);
            try
            {
                return await AddAsync(
                    reference, () => _puller.PullAsync(reference, places, MakeRootAsync, progress, token), token).ConfigureAwait(false);
            }
            finally
            {
                _pulls.Release();
            }
        }
        catch (OperationCanceledException fault) when (timeout.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            string message = $"The image {reference} was not pulled within {_options.PullTimeout.TotalSeconds:0} s.";
            throw new ImagePullException(message, fault) { PublicMessage = message };
        }
        catch (Exception fault) when (fault is IOException or UnauthorizedAccessException)
        {
            throw NotMade(reference, fault);
        }
    }

    private static ImagePullException NotMade(ImageReference reference, Exception fault) => new($"The image {reference} could not be made ready: {fault.Message}", fault)
    {
        PublicMessage = PublicReason.Tell($"The image {reference} could not be made ready", fault),
    };

    // What a failed pull had of whole layers goes, and so does what is beyond the quota.
    private async Task<ImageDigest> AddAsync(ImageReference reference, Func<Task<ReadyImage>> add, CancellationToken cancellationToken)
    {
        try
        {
            ReadyImage made = await add().ConfigureAwait(false);
            try
            {
                await RefuseBeyondQuotaAsync(reference, made.Image.Digest).ConfigureAwait(false);

                // The reference comes last: what it leads to is whole.
                using (FileLock shared = await _directory.ShareAsync(cancellationToken).ConfigureAwait(false))
                {
                    lock (_naming)
                    {
                        _directory.WriteReference(reference, made.Image.Digest);
                        _ready.Name(reference.ToString(), made);
                    }
                }

                if (_options.MaxImageStoreBytes is not null || _isUncollected)
                {
                    // It is still in use here, so that it is not what goes.
                    await TryCollectAsync().ConfigureAwait(false);
                }

                return made.Image.Digest;
            }
            finally
            {
                _ready.Leave(made);
            }
        }
        catch (Exception fault)
        {
            await TryCollectAsync().ConfigureAwait(false);
            if (fault is IOException or UnauthorizedAccessException)
            {
                throw NotMade(reference, fault);
            }

            throw;
        }
    }

    private Task RefuseBeyondQuotaAsync(ImageReference reference, ImageDigest image) => _options.MaxImageStoreBytes is not { } quota
        ? Task.CompletedTask
        : Task.Run(() =>
        {
            long needs = _collector.Measure(image);
            if (needs > quota)
            {
                string message = $"The image {reference} takes {needs} bytes on the disk, more than the {quota} that all images may take here.";
                throw new ImagePullException(message) { PublicMessage = message };
            }
        });

    private async Task<ImageDigest?> MakeReadyOfStoredAsync(ImageReference reference, CancellationToken cancellationToken)
    {
        try
        {
            StoredImage image;
            FileLock hold;
            using (FileLock shared = await _directory.ShareAsync(cancellationToken).ConfigureAwait(false))
            {
                if (_puller.Find(reference) is not { } found)
                {
                    return null;
                }

                image = found;
                hold = _directory.Hold(found.Digest);
            }

            ReadyImage ready = await MakeRootAsync(image, hold, cancellationToken).ConfigureAwait(false);
            lock (_naming)
            {
                // The reference may mean another image by now.
                if (_directory.ReadReference(reference) == image.Digest)
                {
                    _ready.Name(reference.ToString(), ready);
                }
            }

            _ready.Leave(ready);
            return image.Digest;
        }
        catch (Exception fault) when (fault is InvalidDataException or RegistryException)
        {
            // What is stored is damaged: it is pulled again.
            ImageLog.StoreDamaged(_logger, reference.ToString(), fault.Message);
            return null;
        }
    }

    /// <summary>Makes the root of an image, in use once. The hold is taken over.</summary>
    private async Task<ReadyImage> MakeRootAsync(StoredImage image, FileLock hold, CancellationToken cancellationToken)
    {
        try
        {
            if (_ready.TryUse(image.Digest) is { } ready)
            {
                hold.Dispose();
                return ready;
            }

            if (_kind == ImageRootKind.Flattened)
            {
                return _ready.Add(new(image, await FlattenAsync(image, cancellationToken).ConfigureAwait(false), hold));
            }

            IReadOnlyList<string> layers = await LowerAsync(image, cancellationToken).ConfigureAwait(false);

            // An unused root is unmounted by who removes content: not between here and its use.
            using FileLock shared = await _directory.ShareAsync(cancellationToken).ConfigureAwait(false);
            return _ready.Add(new(image, Mount(image, layers), hold));
        }
        catch
        {
            hold.Dispose();
            throw;
        }
    }

    private void UnmakeRoot(ReadyImage image)
    {
        if (_kind == ImageRootKind.Overlay)
        {
            _mounts.Unmount(image.Image.Digest.Hex);
        }
    }

    private void RemoveAbandoned()
    {
        int count = _directory.RemoveAbandoned();
        if (count > 0)
        {
            ImageLog.RemovedAbandoned(_logger, count, _options.Home);
        }
    }

    private async Task<ImageCollector.Result> CollectAsync(Func<StoredReference, bool> isToGo, CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        while (true)
        {
            if (await Task.Run(() => TryCollect(isToGo, null), cancellationToken).ConfigureAwait(false) is { } result)
            {
                return result;
            }

            await Task.Delay(CollectInterval, cancellationToken).ConfigureAwait(false);
        }
    }

    // Where others keep adding, whichever comes next does it.
    private async Task TryCollectAsync()
    {
        try
        {
            for (int attempt = 0; attempt < CollectAttempts; attempt++)
            {
                if (TryCollect(_ => false, _options.MaxImageStoreBytes) is not null)
                {
                    _isUncollected = false;
                    return;
                }

                await Task.Delay(CollectInterval, TimeProvider.System).ConfigureAwait(false);
            }

            _isUncollected = true;
        }
        catch (IOException fault)
        {
            ImageLog.NotCollected(_logger, fault);
        }
    }

    private ImageCollector.Result? TryCollect(Func<StoredReference, bool> isToGo, long? quota)
    {
        var result = new ImageCollector.Result();
        if (quota is not null)
        {
            _collector.MeasureAhead();
        }

        try
        {
            using FileLock? alone = _directory.TryLock();
            if (alone is null)
            {
                return null;
            }

            _collector.Collect(isToGo, quota, result);
        }
        finally
        {
            foreach (string discarded in result.Discarded)
            {
                TreeRemover.Remove(discarded);
            }
        }

        if (result.Discarded.Count > 0)
        {
            ImageLog.Collected(_logger, result.Removed.Count, result.Bytes);
        }

        return result;
    }

    /// <returns>The directories that the root of an image is mounted from, from the top down.</returns>
    private async Task<IReadOnlyList<string>> LowerAsync(StoredImage image, CancellationToken cancellationToken)
    {
        // From the top down. A layer that is there twice counts where it is topmost: there it hides all that it could add further down,
        // and overlayfs refuses the same directory twice.
        var shown = new List<ImageLayer>();
        foreach (ImageLayer layer in image.Layers.Reverse().DistinctBy(layer => layer.DiffId))
        {
            shown.Add(layer);

            // overlayfs merges the roots of all layers; a layer whose root is opaque hides all below it.
            if (OverlayMounts.IsOpaque(_directory.LayerPath(layer.DiffId)))
            {
                break;
            }
        }

        List<string> layers = [.. shown.Select(layer => _directory.LayerPath(layer.DiffId))];
        if (shown.Count > 1 && shown.Any(layer => File.Exists(_directory.ImpliedPath(layer.DiffId))))
        {
            string implied = await MakeImpliedAsync(image.Digest, shown, cancellationToken).ConfigureAwait(false);
            if (Directory.EnumerateFileSystemEntries(implied).Any())
            {
                layers.Insert(0, implied);
            }
        }

        if (_options.TopLayerDirectory is not null)
        {
            layers.Insert(0, _options.TopLayerDirectory);
        }

        // Without an upper directory overlayfs wants two.
        for (int i = 0; layers.Count < 2; i++)
        {
            layers.Add(Directory.CreateDirectory(Path.Combine(_options.Home, "layers", $"empty{i}")).FullName);
        }

        return layers;
    }

    private string Mount(StoredImage image, IReadOnlyList<string> layers)
    {
        try
        {
            return _mounts.Mount(image.Digest.Hex, layers);
        }
        catch (IOException fault)
        {
            throw new SandboxRuntimeException($"The root of {image.Digest} could not be mounted: {fault.Message}", fault);
        }
    }

    /// <returns>The tree that is put on the layers.</returns>
    private async Task<string> MakeImpliedAsync(ImageDigest image, IReadOnlyList<ImageLayer> layers, CancellationToken cancellationToken)
    {
        string target = _directory.ImpliedRootPath(image);
        if (Directory.Exists(target))
        {
            return target;
        }

        // Layers that were stored before took nothing for their names now, and all are looked at together.
        long memory = 0;
        foreach (ImageLayer layer in layers)
        {
            (long count, long bytes) = _directory.CountImplied(layer.DiffId);
            memory += ImpliedDirectories.MemoryOf(count, bytes);
        }

        using PullMemory.Lease lease = await _puller.Memory.TakeImpliedAsync(memory, cancellationToken).ConfigureAwait(false);
        string temporary = _directory.NewTemporaryPath();
        try
        {
            ImagePuller.MakeRoot(temporary);
            using (var directories = new ImpliedDirectories([.. layers.Select(layer => new LayerTree(_directory.LayerPath(layer.DiffId), _directory.ReadImplied(layer.DiffId)))]))
            {
                directories.Make(temporary, _puller.NewBudget(), cancellationToken);
            }

            ImageDirectory.Commit(temporary, target);
            return target;
        }
        catch
        {
            TreeRemover.Remove(temporary);
            throw;
        }
    }

    private async Task<string> FlattenAsync(StoredImage image, CancellationToken cancellationToken)
    {
        string target = _directory.RootPath(image.Digest, ImageDigest.Sha256Of(_topLayer));
        if (Directory.Exists(target))
        {
            return target;
        }

        string temporary = _directory.NewTemporaryPath();
        try
        {
            ImagePuller.MakeRoot(temporary);
            await _puller.FlattenAsync(image, temporary, cancellationToken).ConfigureAwait(false);
            using var top = new MemoryStream(_topLayer, writable: false);
            await new LayerExtractor().ExtractAsync(
                top,
                temporary,
                new() { Whiteouts = WhiteoutFormat.Applied, KeepOwners = Native.Unistd.geteuid() == 0 },
                cancellationToken).ConfigureAwait(false);
            ImageDirectory.Commit(temporary, target);
            return target;
        }
        catch
        {
            TreeRemover.Remove(temporary);
            throw;
        }
    }

    private sealed class ImageLease(ReadyImages ready, ReadyImage image) : IImageLease
    {
        private int _disposed;

        public string Digest { get; } = image.Image.Digest.ToString();

        public ImageConfig Config => image.Image.Config;

        public string RootPath => image.Root;

        public ValueTask DisposeAsync()
        {
            if (Interlocked.Exchange(ref _disposed, 1) == 0)
            {
                ready.Leave(image);
            }

            return ValueTask.CompletedTask;
        }
    }
}
