using System.Collections.Concurrent;
using Boxer.Linux;
using Microsoft.Extensions.Logging;

namespace Boxer.Images;

/// <summary>
/// Images of this machine: pulled from registries where they are missing, kept by digest in one directory, and made into one read-only
/// root for each digest. A reference that was pulled once is not asked for again; name a digest where it matters which image it is.
/// </summary>
public sealed class ImageStore : IImageStore, IAsyncDisposable
{
    private readonly ImageStoreOptions _options;
    private readonly ILogger _logger;
    private readonly RegistryPlaces _places;
    private readonly ImageDirectory _directory;
    private readonly ImageRootKind _kind;
    private readonly ImagePuller _puller;
    private readonly OverlayMounts _mounts;
    private readonly byte[] _topLayer;
    private readonly SemaphoreSlim _pulls;
    private readonly SharedOperations<ReadyImage> _operations = new();
    private readonly ConcurrentDictionary<string, ReadyImage> _ready = new(StringComparer.Ordinal);
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
        ArgumentOutOfRangeException.ThrowIfLessThan(options.PullTimeout, TimeSpan.FromSeconds(1));
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxConcurrentPulls, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxImageBytes, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxLayerEntries, 1);
        _options = options;
        _logger = options.LoggerFactory.CreateLogger<ImageStore>();
        _places = new(options.RegistryMirrors, options.AllowedRegistries);
        ImagePlatform platform = options.Platform is null ? ImagePlatform.Current : ImagePlatform.Parse(options.Platform);
        foreach ((string name, string path) in (ReadOnlySpan<(string, string)>)[(nameof(options.Home), options.Home), (nameof(options.RootsDirectory), options.RootsDirectory)])
        {
            if (!Path.IsPathFullyQualified(path))
            {
                throw new ArgumentException($"{name}: \"{path}\" is not an absolute path; write it out in full.");
            }
        }

        if (options.TopLayerDirectory is not null && !Directory.Exists(options.TopLayerDirectory))
        {
            throw new ArgumentException($"TopLayerDirectory: {options.TopLayerDirectory} is not a directory.");
        }

        PrivateDirectory.Ensure(options.RootsDirectory);
        RemoveAbandonedRoots(options.RootsDirectory);
        _directory = new(options.Home);
        try
        {
            _kind = ChooseKind();
            _topLayer = _kind == ImageRootKind.Flattened ? TopLayerArchive.Pack(options.TopLayerDirectory) : [];
            _mounts = new(options.RootsDirectory);
            _pulls = new(options.MaxConcurrentPulls);
            _puller = new(options, _directory, _kind, platform, new RegistryClient(_places));
        }
        catch
        {
            _directory.Dispose();
            throw;
        }
    }

    /// <summary>How this store makes roots.</summary>
    public ImageRootKind RootKind => _kind;

    /// <summary>Unmounts the roots that a dead process left.</summary>
    /// <param name="rootsDirectory">Its <see cref="ImageStoreOptions.RootsDirectory"/>; it need not exist.</param>
    public static void RemoveAbandonedRoots(string rootsDirectory)
    {
        ArgumentException.ThrowIfNullOrEmpty(rootsDirectory);
        OverlayMounts.UnmountBelow(rootsDirectory);
    }

    /// <summary>Removes what pulls of dead processes left in the store. Those of living ones are not touched.</summary>
    public Task CleanAbandonedAsync() => Task.Run(() =>
    {
        int count = _directory.RemoveAbandoned();
        if (count > 0)
        {
            ImageLog.RemovedAbandoned(_logger, count, _options.Home);
        }
    });

    /// <inheritdoc/>
    /// <exception cref="InvalidSandboxRequestException">Images of this registry are not allowed here.</exception>
    public async Task<IImageLease> AcquireAsync(ImageReference reference, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(reference);
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        IReadOnlyList<RegistryPlace> places = _places.For(reference);
        string key = reference.ToString();
        if (!_ready.TryGetValue(key, out ReadyImage? image))
        {
            image = await _operations.RunAsync(
                key, token => MakeReadyAsync(reference, places, token), cancellationToken).ConfigureAwait(false);
        }

        return new ImageLease(image.Image, image.Root);
    }

    /// <summary>
    /// Takes an image from a file or directory of this host, as if it had been pulled. What the reference named before is not used for
    /// it any more. The source may be hostile: it is held to what registries are held to.
    /// </summary>
    /// <param name="source">Where it is.</param>
    /// <param name="reference">What it is called from now on, by a tag.</param>
    /// <param name="cancellationToken">Gives up; nothing half-made is kept.</param>
    /// <exception cref="ArgumentException">The reference names a digest.</exception>
    /// <exception cref="ImageNotFoundException">The source does not have the image.</exception>
    /// <exception cref="ImagePullException">The source could not be read or unpacked.</exception>
    public async Task<IImageLease> ImportAsync(ImageSource source, ImageReference reference, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(reference);
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        if (reference.Digest is not null)
        {
            throw new ArgumentException($"{reference} names a digest, which the image has or has not; call it by a tag.", nameof(reference));
        }

        ReadyImage ready = await _operations.RunAsync(
            $"import {source} {reference}",
            async token =>
            {
                ReadyImage made = await _puller.ImportAsync(source, reference, MakeRootAsync, token).ConfigureAwait(false);
                _ready[reference.ToString()] = made;
                return made;
            },
            cancellationToken).ConfigureAwait(false);
        return new ImageLease(ready.Image, ready.Root);
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

        _puller.Dispose();
        _directory.Dispose();
        _pulls.Dispose();
    }

    private ImageRootKind ChooseKind()
    {
        if (_options.RootKind == ImageRootKind.Flattened)
        {
            return ImageRootKind.Flattened;
        }

        string? obstacle = OverlayMounts.FindObstacle(_directory.NewTemporaryPath());
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

    private async Task<ReadyImage> MakeReadyAsync(ImageReference reference, IReadOnlyList<RegistryPlace> places, CancellationToken cancellationToken)
    {
        using var timeout = new CancellationTokenSource(_options.PullTimeout, _options.TimeProvider);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        try
        {
            // An image that is here does not wait for those that are not.
            ReadyImage ready = await MakeReadyOfStoredAsync(reference, either.Token).ConfigureAwait(false)
                ?? await PullAsync(reference, places, either.Token).ConfigureAwait(false);
            _ready[reference.ToString()] = ready;
            return ready;
        }
        catch (OperationCanceledException fault) when (timeout.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw new ImagePullException($"The image {reference} was not pulled within {_options.PullTimeout.TotalSeconds:0} s.", fault);
        }
        catch (Exception fault) when (fault is IOException or UnauthorizedAccessException)
        {
            throw new ImagePullException($"The image {reference} could not be made ready: {fault.Message}", fault);
        }
    }

    private async Task<ReadyImage> PullAsync(ImageReference reference, IReadOnlyList<RegistryPlace> places, CancellationToken cancellationToken)
    {
        await _pulls.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            return await _puller.PullAsync(reference, places, MakeRootAsync, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _pulls.Release();
        }
    }

    private async Task<ReadyImage?> MakeReadyOfStoredAsync(ImageReference reference, CancellationToken cancellationToken)
    {
        try
        {
            return _puller.Find(reference) is { } image ? await MakeRootAsync(image, cancellationToken).ConfigureAwait(false) : null;
        }
        catch (Exception fault) when (fault is InvalidDataException or RegistryException)
        {
            // What is stored is damaged: it is pulled again.
            ImageLog.StoreDamaged(_logger, reference.ToString(), fault.Message);
            return null;
        }
    }

    private async Task<ReadyImage> MakeRootAsync(StoredImage image, CancellationToken cancellationToken) => new(
        image, _kind == ImageRootKind.Overlay ? Mount(image) : await FlattenAsync(image, cancellationToken).ConfigureAwait(false));

    private string Mount(StoredImage image)
    {
        // From the top down. A layer that is there twice counts where it is topmost: there it hides all that it could add further down,
        // and overlayfs refuses the same directory twice.
        var layers = new List<string>();
        if (_options.TopLayerDirectory is not null)
        {
            layers.Add(_options.TopLayerDirectory);
        }

        foreach (ImageLayer layer in image.Layers.Reverse().DistinctBy(layer => layer.DiffId))
        {
            string path = _directory.LayerPath(layer.DiffId);
            layers.Add(path);

            // overlayfs merges the roots of all layers; a layer whose root is opaque hides all below it.
            if (OverlayMounts.IsOpaque(path))
            {
                break;
            }
        }

        // Without an upper directory overlayfs wants two.
        for (int i = 0; layers.Count < 2; i++)
        {
            layers.Add(Directory.CreateDirectory(Path.Combine(_options.Home, "layers", $"empty{i}")).FullName);
        }

        try
        {
            return _mounts.Mount(image.Digest.Hex, layers);
        }
        catch (IOException fault)
        {
            throw new SandboxRuntimeException($"The root of {image.Digest} could not be mounted: {fault.Message}", fault);
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

    private sealed record ReadyImage(StoredImage Image, string Root);

    // Roots stay as long as the store: there is nothing to give back until images are evicted.
    private sealed class ImageLease(StoredImage image, string root) : IImageLease
    {
        public string Digest { get; } = image.Digest.ToString();

        public ImageConfig Config { get; } = image.Config;

        public string RootPath { get; } = root;

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
