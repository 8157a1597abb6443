using Boxer.Diagnostics;
using Boxer.Images.Disk;
using Boxer.Images.Manifests;
using Boxer.Images.Registry;
using Boxer.Images.Roots;
using Boxer.Images.Sources;
using Boxer.Linux;
using Microsoft.Extensions.Logging;

namespace Boxer.Images.Store;

/// <summary>
/// Makes images ready: finds them in the store, pulls them from registries or imports them, makes their roots, and stores the references last.
/// </summary>
internal sealed class ImagePuller : IDisposable
{
    private readonly ImageStoreOptions _options;
    private readonly ImageDirectory _directory;
    private readonly ImageRoots _roots;
    private readonly ImageGarbageCollector _collector;
    private readonly ImagePlatform _platform;
    private readonly RegistryHttp _http;
    private readonly LayerFetcher _fetcher;
    private readonly SourceOpener _sources;
    private readonly ILogger _logger;
    private readonly SemaphoreSlim _pulls;

    // Changes of a reference on the disk and in this process are one step.
    private readonly Lock _naming = new();

    /// <summary>Creates a puller.</summary>
    /// <param name="options">The store's options.</param>
    /// <param name="directory">The store's files.</param>
    /// <param name="roots">The roots of images.</param>
    /// <param name="collector">Removes content that no image needs.</param>
    /// <param name="platform">The platform of images to pull.</param>
    /// <param name="http">Sends requests to registries; disposed with the puller.</param>
    /// <param name="fetcher">Brings layers into the store.</param>
    /// <param name="sources">Opens the files that images are imported from.</param>
    public ImagePuller(
        ImageStoreOptions options,
        ImageDirectory directory,
        ImageRoots roots,
        ImageGarbageCollector collector,
        ImagePlatform platform,
        RegistryHttp http,
        LayerFetcher fetcher,
        SourceOpener sources)
    {
        _options = options;
        _directory = directory;
        _roots = roots;
        _collector = collector;
        _platform = platform;
        _http = http;
        _fetcher = fetcher;
        _sources = sources;
        _logger = options.LoggerFactory.CreateLogger(ImageLog.Category);
        _pulls = new(options.MaxConcurrentPulls);
    }

    /// <summary>Makes the root of an image ready, and pulls the image first where the policy requires it.</summary>
    /// <param name="reference">The image.</param>
    /// <param name="endpoints">Endpoints to pull from, in order.</param>
    /// <param name="policy">When registries are asked.</param>
    /// <param name="progress">Receives the progress of each layer.</param>
    /// <param name="cancellationToken">Cancels the operation; incomplete layers and roots are not kept.</param>
    /// <returns>Digest of the image's manifest. The image has no use yet and may be removed again.</returns>
    /// <exception cref="ImageNotFoundException">No endpoint has the image, or pulling is disabled and the image is not in the store.</exception>
    /// <exception cref="ImagePullException">The image could not be pulled or unpacked, or not in time.</exception>
    public async Task<ImageDigest> MakeReadyAsync(
        ImageReference reference, IReadOnlyList<RegistryEndpoint> endpoints, PullPolicy policy, IProgress<PullProgress> progress, CancellationToken cancellationToken)
    {
        using var timeout = new CancellationTokenSource(_options.PullTimeout, _options.TimeProvider);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        CancellationToken token = either.Token;
        try
        {
            // Stored images do not wait for a free pull.
            if (!MustAskRegistry(reference, policy) && await MakeStoredReadyAsync(reference, token).ConfigureAwait(false) is { } stored)
            {
                return stored;
            }

            if (policy == PullPolicy.Never)
            {
                string message = $"The image {reference} is not in the local store and pulling is disabled (PullPolicy.Never). Pull or import it first.";
                throw new ImageNotFoundException(message) { PublicMessage = message };
            }

            await _pulls.WaitAsync(token).ConfigureAwait(false);
            try
            {
                return await AddAsync(reference, () => PullAsync(reference, endpoints, progress, token), token).ConfigureAwait(false);
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
            throw NotReady(reference, fault);
        }
    }

    /// <summary>Imports an image from a file or directory of this host, and makes its root ready.</summary>
    /// <param name="source">The file or directory.</param>
    /// <param name="reference">The name of the image from now on.</param>
    /// <param name="progress">Receives the progress of each layer.</param>
    /// <param name="cancellationToken">Cancels the operation; incomplete layers and roots are not kept.</param>
    /// <returns>Digest of the image's manifest. The image has no use yet and may be removed again.</returns>
    /// <exception cref="ImageNotFoundException">The source does not have the image.</exception>
    /// <exception cref="ImagePullException">The source could not be read or unpacked.</exception>
    public Task<ImageDigest> ImportAsync(ImageSource source, ImageReference reference, IProgress<PullProgress> progress, CancellationToken cancellationToken) =>
        AddAsync(reference, () => ReadSourceAsync(source, reference, progress, cancellationToken), cancellationToken);

    /// <summary>Gets whether a policy requires to ask a registry for an image that is in the store. A digest always means the same image.</summary>
    /// <param name="reference">The image.</param>
    /// <param name="policy">The policy.</param>
    public static bool MustAskRegistry(ImageReference reference, PullPolicy policy) => policy == PullPolicy.Always && reference.Digest is null;

    /// <inheritdoc/>
    public void Dispose()
    {
        _http.Dispose();
        _pulls.Dispose();
    }

    private static ImagePullException NotReady(ImageReference reference, Exception fault) => new($"The image {reference} could not be made ready: {fault.Message}", fault)
    {
        PublicMessage = PublicReason.Tell($"The image {reference} could not be made ready", fault),
    };

    private async Task<ImageDigest?> MakeStoredReadyAsync(ImageReference reference, CancellationToken cancellationToken)
    {
        try
        {
            StoredImage image;
            FileLock hold;
            using (FileLock shared = await _directory.Locks.ShareAsync(cancellationToken).ConfigureAwait(false))
            {
                if (FindStored(reference) is not { } found)
                {
                    return null;
                }

                image = found;
                hold = _directory.Locks.Hold(found.Digest);
            }

            ReadyImage ready = await _roots.MakeAsync(image, hold, cancellationToken).ConfigureAwait(false);
            lock (_naming)
            {
                // The reference may mean another image by now.
                if (_directory.References.Read(reference) == image.Digest)
                {
                    _roots.Ready.Name(reference.ToString(), ready);
                }
            }

            _roots.Ready.EndUse(ready);
            return image.Digest;
        }
        catch (Exception fault) when (fault is InvalidDataException or RegistryException)
        {
            // Damaged content in the store is pulled again.
            ImageLog.StoreDamaged(_logger, reference.ToString(), fault.Message);
            return null;
        }
    }

    /// <returns>The image if the store has all of its content.</returns>
    private StoredImage? FindStored(ImageReference reference)
    {
        if (_directory.References.Read(reference) is not { } digest || _directory.ReadBlob(digest, ImageContent.MaxManifestBytes) is not { } content)
        {
            return null;
        }

        try
        {
            if (ImageManifest.Read(content, null, _platform, out _) is not { } manifest || _directory.ReadBlob(manifest.Config.Digest, manifest.Config.Size) is not { } config)
            {
                return null;
            }

            ImageConfig imageConfig = manifest.ReadConfig(config, _platform, out IReadOnlyList<ImageLayer> layers);
            return layers.All(_fetcher.HasLayer) ? new(digest, imageConfig, layers) : null;
        }
        catch (RegistryException)
        {
            // It was stored for another platform or by other rules, and is pulled again by those of this store.
            return null;
        }
    }

    private async Task<ReadyImage> PullAsync(
        ImageReference reference, IReadOnlyList<RegistryEndpoint> endpoints, IProgress<PullProgress> progress, CancellationToken cancellationToken)
    {
        try
        {
            return await _http.AskAsync(
                reference,
                endpoints,
                async (repository, endpoint) =>
                {
                    using (repository)
                    {
                        return await StoreAsync(reference, repository, _directory.References.Read(reference), endpoint, progress, cancellationToken).ConfigureAwait(false);
                    }
                }).ConfigureAwait(false);
        }
        catch (IOException fault)
        {
            throw new ImagePullException($"The image {reference} could not be unpacked: {fault.Message}", fault) { PublicMessage = PublicReason.Tell($"The image {reference} could not be unpacked", fault) };
        }
    }

    private async Task<ReadyImage> ReadSourceAsync(ImageSource source, ImageReference reference, IProgress<PullProgress> progress, CancellationToken cancellationToken)
    {
        string temporary = _directory.NewTemporaryPath();
        try
        {
            using IImageContent content = await _sources.OpenAsync(source, temporary, cancellationToken).ConfigureAwait(false);
            return await StoreAsync(reference, content, null, source.ToString(), progress, cancellationToken).ConfigureAwait(false);
        }
        catch (RegistryException fault)
        {
            throw fault.Kind == RegistryFaultKind.NotFound
                ? new ImageNotFoundException($"{source} has no such image: {fault.Message}.", fault) { PublicMessage = PublicReason.Tell($"The image {reference} was not found", fault) }
                : new ImagePullException($"{source} could not be imported: {fault.Message}.", fault) { PublicMessage = NotImported(fault) };
        }
        catch (Exception fault) when (fault is InvalidDataException or IOException or UnauthorizedAccessException)
        {
            throw new ImagePullException($"{source} could not be imported: {fault.Message.TrimEnd('.')}.", fault) { PublicMessage = NotImported(fault) };
        }
        finally
        {
            File.Delete(temporary);
        }

        string NotImported(Exception fault) => PublicReason.Tell($"The image {reference} could not be imported", fault);
    }

    /// <summary>Stores the manifest, config and layers of an image, and makes its root.</summary>
    private async Task<ReadyImage> StoreAsync(
        ImageReference reference, IImageContent content, ImageDigest? known, string origin, IProgress<PullProgress> progress, CancellationToken cancellationToken)
    {
        long started = _options.TimeProvider.GetTimestamp();
        (FetchedManifest fetched, ImageManifest manifest) = await content.GetImageManifestAsync(_platform, cancellationToken).ConfigureAwait(false);

        // Stored content is used if this reference meant this very image before, or if the origin proves to have it: knowing a digest gives no right
        // to the content.
        bool isKnown = known == fetched.Digest;
        byte[] config = (isKnown ? _directory.ReadBlob(manifest.Config.Digest, manifest.Config.Size) : null)
            ?? await content.GetConfigAsync(manifest.Config, cancellationToken).ConfigureAwait(false);
        ImageConfig imageConfig = manifest.ReadConfig(config, _platform, out IReadOnlyList<ImageLayer> layers);
        if (manifest.LayerBytes > _options.MaxImageBytes)
        {
            throw new RegistryException($"the image has {manifest.LayerBytes} bytes; {_options.MaxImageBytes} are allowed").AsPublic();
        }

        FileLock hold = await _directory.HoldAsync(fetched.Digest, fetched.Content, manifest.Config.Digest, config, cancellationToken).ConfigureAwait(false);
        try
        {
            await _fetcher.FetchAsync(content, layers, isKnown, progress, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            hold.Dispose();
            throw;
        }

        ReadyImage ready = await _roots.MakeAsync(new(fetched.Digest, imageConfig, layers), hold, cancellationToken).ConfigureAwait(false);
        ImageLog.Pulled(
            _logger, reference.ToString(), fetched.Digest.ToString(), origin, layers.Count, _options.TimeProvider.GetElapsedTime(started).TotalMilliseconds);
        return ready;
    }

    /// <summary>
    /// Adds an image and lets the reference mean it. Afterwards content that no image needs is removed: that of a failed pull, and that beyond the quota.
    /// </summary>
    private async Task<ImageDigest> AddAsync(ImageReference reference, Func<Task<ReadyImage>> add, CancellationToken cancellationToken)
    {
        try
        {
            ReadyImage added = await add().ConfigureAwait(false);
            try
            {
                await _collector.RejectBeyondQuotaAsync(reference, added.Image.Digest).ConfigureAwait(false);

                // The reference comes last, so that it always leads to a complete image.
                using (FileLock shared = await _directory.Locks.ShareAsync(cancellationToken).ConfigureAwait(false))
                {
                    lock (_naming)
                    {
                        _directory.References.Write(reference, added.Image.Digest);
                        _roots.Ready.Name(reference.ToString(), added);
                    }
                }

                // The new image is still in use here, so the collection does not remove it.
                await _collector.CollectAfterAddingAsync().ConfigureAwait(false);
                return added.Image.Digest;
            }
            finally
            {
                _roots.Ready.EndUse(added);
            }
        }
        catch (Exception fault)
        {
            await _collector.TryCollectAsync().ConfigureAwait(false);
            if (fault is IOException or UnauthorizedAccessException)
            {
                throw NotReady(reference, fault);
            }

            throw;
        }
    }
}
