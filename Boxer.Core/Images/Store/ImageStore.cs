using System.Runtime.Versioning;
using Boxer.Diagnostics;
using Boxer.Images.Disk;
using Boxer.Images.Layers;
using Boxer.Images.Manifests;
using Boxer.Images.Registry;
using Boxer.Images.Roots;
using Boxer.Images.Sources;
using Boxer.Linux;
using Microsoft.Extensions.Logging;

namespace Boxer.Images.Store;

/// <summary>
/// Keeps the images of this machine in one directory. It pulls missing images from registries, stores their content by digest, and makes one
/// read-only root for each image. A reference that was pulled before is resolved at its registry again only with <see cref="PullPolicy.Always"/>;
/// use a digest to pin an image. Several processes may share one directory.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed class ImageStore : IImageStore, IAsyncDisposable
{
    private static readonly TimeSpan NoteInterval = TimeSpan.FromMinutes(1);
    private readonly ImageStoreOptions _options;
    private readonly ILogger _logger;
    private readonly RegistryEndpoints _endpoints;
    private readonly FileLock? _rootsLock;
    private readonly ImageDirectory _directory;
    private readonly ImageRoots _roots;
    private readonly ImagePuller _puller;
    private readonly ImageInventory _inventory;
    private readonly ImageGarbageCollector _collector;
    private readonly SharedOperations<ImageDigest> _operations;
    private int _disposed;

    /// <summary>Opens a store, and unmounts leftovers of an earlier process in <see cref="ImageStoreOptions.RootsDirectory"/>.</summary>
    /// <param name="options">Options of the store.</param>
    /// <exception cref="ArgumentException">An option is invalid; the message names it and the remedy.</exception>
    /// <exception cref="SandboxPrivilegeException">
    /// Other users may enter a directory of the store, or <see cref="ImageRootKind.Overlay"/> is set and this process cannot make overlay mounts.
    /// </exception>
    public ImageStore(ImageStoreOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        _options = options = options.Copy();
        ImageStoreOptions.Validate(options);
        _logger = options.LoggerFactory.CreateLogger(ImageLog.Category);
        _operations = new SharedOperations<ImageDigest>(_logger);
        RegistryClientOptions registries = options.ForRegistries();
        _endpoints = new([.. options.Registries], options.AllowedRegistries);
        ImagePlatform platform = ImagePlatform.ParseOrCurrent(registries.Platform);
        ImageStoreOptions.ValidateDirectories(options);
        if (options.RootsDirectory is not null)
        {
            PrivateDirectory.Ensure(options.RootsDirectory);
            _rootsLock = FileLock.TryTakeDirectory(options.RootsDirectory)
                ?? throw new ArgumentException($"RootsDirectory: {options.RootsDirectory} is in use by another store; give each store its own directory.");
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
            RootKind = ChooseRootKind();
            LayerUnpacker unpacker = NewUnpacker();
            _roots = NewRoots(unpacker);
            _inventory = new(_directory);
            _collector = new(options, _directory, _inventory, _roots.Ready);
            _puller = new(
                options,
                _directory,
                _roots,
                _collector,
                platform,
                new RegistryHttp(_endpoints, registries),
                new LayerFetcher(_directory, RootKind, unpacker, _logger),
                new SourceOpener(platform, unpacker, options.MaxImageBytes));
        }
        catch
        {
            _directory.Dispose();
            _rootsLock?.Dispose();
            throw;
        }
    }

    /// <summary>Gets how this store makes roots.</summary>
    public ImageRootKind RootKind { get; }

    /// <summary>Removes leftovers of pulls of dead processes, complete layers included. Pulls of living processes are not affected.</summary>
    internal Task CleanAbandonedAsync() => Task.Run(async () =>
    {
        _collector.RemoveAbandoned();
        await _collector.TryCollectAsync().ConfigureAwait(false);
    });

    /// <inheritdoc/>
    /// <exception cref="InvalidSandboxRequestException">Images of this registry are not allowed.</exception>
    public async Task<IImageLease> AcquireAsync(ImageReference reference, ImageAcquireOptions options, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(reference);
        ArgumentNullException.ThrowIfNull(options);
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        IReadOnlyList<RegistryEndpoint> endpoints = _endpoints.For(reference);
        PullPolicy policy = options.Policy;
        string name = reference.ToString();
        while (true)
        {
            if (!ImagePuller.MustAskRegistry(reference, policy) && _roots.Ready.TryUse(name) is { } ready)
            {
                return Lease(ready, reference);
            }

            ImageDigest made = await _operations.RunAsync(
                $"{policy} {name}",
                (progress, token) => _puller.MakeReadyAsync(reference, endpoints, policy, progress, token),
                options.Progress,
                cancellationToken).ConfigureAwait(false);

            // The image may have been removed again meanwhile.
            if (_roots.Ready.TryUse(made) is { } image)
            {
                return Lease(image, reference);
            }
        }
    }

    /// <inheritdoc/>
    /// <exception cref="InvalidSandboxRequestException">Images of this registry are not allowed.</exception>
    public Task<string> PullAsync(ImageReference reference, IProgress<PullProgress>? progress = null, CancellationToken cancellationToken = default) =>
        DigestOfAsync(AcquireAsync(reference, new ImageAcquireOptions { Policy = PullPolicy.Always, Progress = progress }, cancellationToken));

    /// <inheritdoc/>
    public Task<string> ImportAsync(
        ImageSource source, ImageReference reference, IProgress<PullProgress>? progress = null, CancellationToken cancellationToken = default) =>
        DigestOfAsync(AcquireImportedAsync(source, reference, progress, cancellationToken));

    /// <summary>Imports an image as <see cref="ImportAsync"/> does, and keeps its root until the lease is disposed.</summary>
    internal async Task<IImageLease> AcquireImportedAsync(
        ImageSource source, ImageReference reference, IProgress<PullProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(reference);
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        if (reference.Digest is not null)
        {
            throw new ArgumentException($"{reference} names a digest, which an import cannot choose; name the image by a tag.", nameof(reference));
        }

        while (true)
        {
            ImageDigest made = await _operations.RunAsync(
                $"import {source} {reference}",
                (listeners, token) => _puller.ImportAsync(source, reference, listeners, token),
                progress,
                cancellationToken).ConfigureAwait(false);
            if (_roots.Ready.TryUse(made) is { } image)
            {
                return Lease(image, reference);
            }
        }
    }

    /// <inheritdoc/>
    public async Task<IReadOnlyList<ImageInfo>> ListAsync(CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        using FileLock shared = await _directory.Locks.ShareAsync(cancellationToken).ConfigureAwait(false);
        return await Task.Run(_inventory.List, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async Task<ImageRemoval> RemoveAsync(ImageReference reference, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(reference);
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        bool isStored = false;
        CollectedImages collected = await _collector.CollectAsync(
            stored =>
            {
                bool isIt = stored.Reference == reference;
                isStored |= isIt;
                return isIt;
            },
            cancellationToken).ConfigureAwait(false);
        return !isStored ? ImageRemoval.NotFound
            : collected.Removed.Any(stored => stored.Reference == reference) ? ImageRemoval.Removed
            : ImageRemoval.InUse;
    }

    /// <inheritdoc/>
    /// <remarks>Leftovers of pulls of dead processes are removed too.</remarks>
    public async Task<ImagePruneResult> PruneAsync(TimeSpan? unusedFor, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(unusedFor ?? TimeSpan.Zero, TimeSpan.Zero, nameof(unusedFor));
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        await Task.Run(_collector.RemoveAbandoned, cancellationToken).ConfigureAwait(false);
        DateTimeOffset now = _options.TimeProvider.GetUtcNow();
        CollectedImages collected = await _collector.CollectAsync(stored => now - stored.LastUsed >= unusedFor, cancellationToken).ConfigureAwait(false);
        return new(collected.Removed.Count, collected.Bytes);
    }

    /// <summary>Cancels pulls, unmounts all roots and removes unfinished content. Images stay in the store.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        await _operations.DisposeAsync().ConfigureAwait(false);
        foreach (string path in _roots.Release())
        {
            ImageLog.RootInUse(_logger, path);
        }

        _puller.Dispose();
        _directory.Dispose();
        _rootsLock?.Dispose();
    }

    /// <summary>Ends the use of an image, of which only the digest is needed.</summary>
    private static async Task<string> DigestOfAsync(Task<IImageLease> acquired)
    {
        IImageLease lease = await acquired.ConfigureAwait(false);
        await using (lease.ConfigureAwait(false))
        {
            return lease.Digest;
        }
    }

    private ImageRootKind ChooseRootKind()
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
            throw new SandboxPrivilegeException($"Overlay mounts cannot be made: {obstacle}. Run as root, or leave RootKind unset for flattened trees.");
        }

        ImageLog.Flattening(_logger, obstacle);
        return ImageRootKind.Flattened;
    }

    private LayerUnpacker NewUnpacker() => new(
        _options.LayerExtractor,
        RootKind == ImageRootKind.Overlay ? WhiteoutFormat.Overlay : WhiteoutFormat.Applied,
        _options.MaxImageBytes,
        _options.MaxImageEntries,
        new FreeDiskSpace(_options.Home, _options.MinFreeDiskBytes),
        new PullMemory(_options.PullMemoryBytes));

    private ImageRoots NewRoots(LayerUnpacker unpacker) => RootKind == ImageRootKind.Overlay
        ? new OverlayRoots(_directory, _options.RootsDirectory ?? _directory.NewTemporaryPath(), _options.TopLayerDirectory, unpacker)
        : new FlattenedRoots(_directory, unpacker, _options.TopLayerDirectory, _logger);

    private ImageLease Lease(ReadyImage image, ImageReference reference)
    {
        DateTimeOffset now = _options.TimeProvider.GetUtcNow();
        if (now - image.Noted > NoteInterval)
        {
            image.Noted = now;
            _directory.References.Touch(reference, now);
        }

        return new ImageLease(_roots.Ready, image);
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
                ready.EndUse(image);
            }

            return ValueTask.CompletedTask;
        }
    }
}
