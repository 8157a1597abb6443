using Boxer.Diagnostics;
using Boxer.Images.Layers;
using Boxer.Images.Manifests;
using Boxer.Images.Registry;
using Boxer.Images.Sources;
using Boxer.Linux;
using Microsoft.Extensions.Logging;

namespace Boxer.Images.Store;

/// <summary>Brings images from registries into a store.</summary>
internal sealed class ImagePuller : IDisposable
{
    private const int LayersAtOnce = 3;

    // Memory of one layer besides the window of its decompressor: bytes read ahead, input of the decompressor, and the first names of files.
    private const long LayerBufferBytes = 3L << 20;
    private const int CopyBytes = 128 * 1024;

    private readonly ImageStoreOptions _options;
    private readonly ImageDirectory _directory;
    private readonly ImageRootKind _kind;
    private readonly ImagePlatform _platform;
    private readonly RegistryHttp _http;
    private readonly ILogger _logger;
    private readonly PullMemory _memory;

    /// <summary>Makes a puller.</summary>
    /// <param name="options">The store's options.</param>
    /// <param name="directory">The store's files.</param>
    /// <param name="kind">How roots are made.</param>
    /// <param name="platform">The platform that is wanted.</param>
    /// <param name="http">What it asks with; disposed with the puller.</param>
    public ImagePuller(ImageStoreOptions options, ImageDirectory directory, ImageRootKind kind, ImagePlatform platform, RegistryHttp http)
    {
        _options = options;
        _directory = directory;
        _kind = kind;
        _platform = platform;
        _http = http;
        _logger = options.LoggerFactory.CreateLogger(ImageLog.Category);
        _memory = new(options.PullMemoryBytes);
    }

    /// <summary>The memory budget of pulls and imports.</summary>
    public PullMemory Memory => _memory;

    /// <summary>Finds an image whose content is all in the store.</summary>
    /// <param name="reference">The image.</param>
    public StoredImage? Find(ImageReference reference)
    {
        if (_directory.ReadReference(reference) is not { } digest || _directory.ReadBlob(digest, ImageContent.MaxManifestBytes) is not { } content)
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
            return layers.All(HasLayer) ? new(digest, imageConfig, layers) : null;
        }
        catch (RegistryException)
        {
            // A store of another platform, or of other rules: what may be used is decided afresh.
            return null;
        }
    }

    /// <summary>Pulls an image from the first place that has it.</summary>
    /// <param name="reference">The image.</param>
    /// <param name="places">The places, in order.</param>
    /// <param name="makeRoot">Makes the root of what was pulled, which is held for it from then on.</param>
    /// <param name="progress">Told how far each layer is.</param>
    /// <param name="cancellationToken">Gives up; nothing half-made is kept.</param>
    /// <exception cref="ImageNotFoundException">No place has it.</exception>
    /// <exception cref="ImagePullException">It could not be pulled.</exception>
    public async Task<T> PullAsync<T>(
        ImageReference reference,
        IReadOnlyList<RegistryEndpoint> places,
        Func<StoredImage, FileLock, CancellationToken, Task<T>> makeRoot,
        IProgress<PullProgress> progress,
        CancellationToken cancellationToken)
    {
        try
        {
            return await _http.AskAsync(
                reference,
                places,
                async (repository, place) =>
                {
                    using (repository)
                    {
                        return await StoreAsync(reference, repository, _directory.ReadReference(reference), place, makeRoot, progress, cancellationToken).ConfigureAwait(false);
                    }
                }).ConfigureAwait(false);
        }
        catch (IOException fault)
        {
            throw new ImagePullException($"The image {reference} could not be unpacked: {fault.Message}", fault) { PublicMessage = PublicReason.Tell($"The image {reference} could not be unpacked", fault) };
        }
    }

    /// <summary>Takes an image from a file or directory of this host.</summary>
    /// <param name="source">Which.</param>
    /// <param name="reference">What it is called from now on.</param>
    /// <param name="makeRoot">Makes its root; the image is held for it from then on.</param>
    /// <param name="progress">Told how far each layer is.</param>
    /// <param name="cancellationToken">Gives up; nothing half-made is kept.</param>
    /// <exception cref="ImageNotFoundException">The source does not have it.</exception>
    /// <exception cref="ImagePullException">It could not be read or unpacked.</exception>
    public async Task<T> ImportAsync<T>(
        ImageSource source, ImageReference reference, Func<StoredImage, FileLock, CancellationToken, Task<T>> makeRoot, IProgress<PullProgress> progress, CancellationToken cancellationToken)
    {
        string? temporary = null;
        try
        {
            if (source.Kind is ImageSourceKind.OciArchive or ImageSourceKind.DockerArchive)
            {
                temporary = await DecompressAsync(source.Path, cancellationToken).ConfigureAwait(false);
            }

            using IImageContent content = await OpenAsync(source, temporary ?? source.Path, cancellationToken).ConfigureAwait(false);
            return await StoreAsync(reference, content, null, source.ToString(), makeRoot, progress, cancellationToken).ConfigureAwait(false);
        }
        catch (RegistryException fault)
        {
            throw fault.Kind == RegistryFaultKind.NotFound
                ? new ImageNotFoundException($"{source} has no such image: {fault.Message}.", fault) { PublicMessage = PublicReason.Tell($"The image {reference} was not found", fault) }
                : new ImagePullException($"{source} could not be imported: {fault.Message}.", fault) { PublicMessage = NotImported(reference, fault) };
        }
        catch (Exception fault) when (fault is InvalidDataException or IOException or UnauthorizedAccessException)
        {
            throw new ImagePullException($"{source} could not be imported: {fault.Message.TrimEnd('.')}.", fault) { PublicMessage = NotImported(reference, fault) };
        }
        finally
        {
            if (temporary is not null)
            {
                File.Delete(temporary);
            }
        }
    }

    /// <summary>Applies the layers of an image in order to an empty directory.</summary>
    /// <param name="image">The image.</param>
    /// <param name="target">The directory.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="InvalidDataException">A layer is malformed or refused.</exception>
    /// <exception cref="RegistryException">A layer is not what the image names.</exception>
    public async Task FlattenAsync(StoredImage image, string target, CancellationToken cancellationToken)
    {
        // Runs of an image that is here do not wait for what comes from registries.
        using PullMemory.Lease buffers = await _memory.TakeStoredBuffersAsync(LayerBufferBytes, cancellationToken).ConfigureAwait(false);
        UnpackBudget budget = NewBudget();
        foreach (ImageLayer layer in image.Layers)
        {
            string path = _directory.BlobPath(layer.Blob.Digest);
            try
            {
                FileStream file = File.OpenRead(path);
                await using (file.ConfigureAwait(false))
                {
                    using NameMemory names = new(_memory);
                    await UnpackAsync(file, layer, target, budget, names, null, cancellationToken).ConfigureAwait(false);
                }
            }
            catch (Exception fault) when (fault is InvalidDataException or RegistryException)
            {
                // Where it is damaged on this disk the next pull must not find it; what another image names well stays.
                await RemoveIfDamagedAsync(layer.Blob, cancellationToken).ConfigureAwait(false);
                throw;
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _http.Dispose();

    /// <summary>What one image may take.</summary>
    public UnpackBudget NewBudget() => new(_options.MaxImageBytes, _options.MaxImageEntries, new FreeDiskSpace(_options.Home, _options.MinFreeDiskBytes));

    // A blob that is stored as it comes only passes through a buffer.
    private long ComingBytes => _kind == ImageRootKind.Overlay ? LayerBufferBytes : 2 * CopyBytes;

    private static string NotImported(ImageReference reference, Exception fault) => PublicReason.Tell($"The image {reference} could not be imported", fault);

    private bool HasLayer(ImageLayer layer) => _kind == ImageRootKind.Overlay
        ? Directory.Exists(_directory.LayerPath(layer.DiffId))
        : File.Exists(_directory.BlobPath(layer.Blob.Digest));

    private async Task<IImageContent> OpenAsync(ImageSource source, string path, CancellationToken cancellationToken)
    {
        switch (source.Kind)
        {
            case ImageSourceKind.OciLayout:
                return new LayoutContent(new DirectoryFiles(path), source.Name);
            case ImageSourceKind.OciArchive:
                return new LayoutContent(await ArchiveFiles.OpenAsync(path, cancellationToken).ConfigureAwait(false), source.Name);
            case ImageSourceKind.DockerArchive:
                return await ArchiveContent.OfDockerAsync(
                    await ArchiveFiles.OpenAsync(path, cancellationToken).ConfigureAwait(false), source.Name, cancellationToken).ConfigureAwait(false);
            default:
                string full = Path.GetFullPath(path);
                return await ArchiveContent.OfRootAsync(
                    new DirectoryFiles(Path.GetDirectoryName(full)!), Path.GetFileName(full), _platform, _options.MaxImageBytes, _memory, cancellationToken).ConfigureAwait(false);
        }
    }

    // The files of an archive are read in no order, so a compressed one is unpacked first.
    private async Task<string?> DecompressAsync(string path, CancellationToken cancellationToken)
    {
        using PullMemory.Lease buffers = await _memory.TakeBuffersAsync(LayerBufferBytes, cancellationToken).ConfigureAwait(false);
        FileStream file = File.OpenRead(path);
        await using (file.ConfigureAwait(false))
        {
            Stream plain = await Decompression.OpenAsync(file, _memory, cancellationToken).ConfigureAwait(false);
            await using (plain.ConfigureAwait(false))
            {
                if (!Decompression.IsCompressed(plain))
                {
                    return null;
                }

                string temporary = _directory.NewTemporaryPath();
                var target = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1);
                await using (target.ConfigureAwait(false))
                {
                    UnpackBudget budget = NewBudget();
                    var buffer = new byte[CopyBytes];
                    int length;
                    try
                    {
                        while ((length = await plain.ReadAsync(buffer, cancellationToken).ConfigureAwait(false)) > 0)
                        {
                            budget.TakeArchive(length);
                            budget.Write(length);
                            await target.WriteAsync(buffer.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
                        }
                    }
                    catch
                    {
                        File.Delete(temporary);
                        throw;
                    }
                }

                return temporary;
            }
        }
    }

    private async Task<T> StoreAsync<T>(
        ImageReference reference,
        IImageContent content,
        ImageDigest? known,
        string place,
        Func<StoredImage, FileLock, CancellationToken, Task<T>> makeRoot,
        IProgress<PullProgress> progress,
        CancellationToken cancellationToken)
    {
        long started = _options.TimeProvider.GetTimestamp();
        (FetchedManifest fetched, ImageManifest manifest) = await content.GetImageManifestAsync(_platform, cancellationToken).ConfigureAwait(false);

        // Stored content is used where this reference meant this very image before, or where the place has the content too: a digest may be known
        // to somebody who was never given the content.
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
            await FetchLayersAsync(content, layers, isKnown, progress, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            hold.Dispose();
            throw;
        }

        T root = await makeRoot(new(fetched.Digest, imageConfig, layers), hold, cancellationToken).ConfigureAwait(false);
        ImageLog.Pulled(
            _logger, reference.ToString(), fetched.Digest.ToString(), place, layers.Count, _options.TimeProvider.GetElapsedTime(started).TotalMilliseconds);
        return root;
    }

    // Downloads are not shared between images: a place that stalls would hold up the pulls of others that name the same layer.
    private async Task FetchLayersAsync(
        IImageContent content, IReadOnlyList<ImageLayer> layers, bool isKnown, IProgress<PullProgress> progress, CancellationToken cancellationToken)
    {
        UnpackBudget budget = NewBudget();
        foreach (ImageLayer layer in layers.Where(layer => _kind == ImageRootKind.Flattened && HasLayer(layer)))
        {
            await RemoveIfDamagedAsync(layer.Blob, cancellationToken).ConfigureAwait(false);
        }

        foreach (ImageLayer layer in layers)
        {
            bool isReady = isKnown && HasLayer(layer);
            progress.Report(new(layer.Blob.Digest.ToString(), isReady ? layer.Blob.Size : 0, layer.Blob.Size, isReady));
        }

        await Parallel.ForEachAsync(
            layers.Where(layer => !isKnown || !HasLayer(layer)).DistinctBy(layer => (layer.DiffId, layer.Blob.Digest)),
            new ParallelOptions { MaxDegreeOfParallelism = LayersAtOnce, CancellationToken = cancellationToken },
            async (layer, token) =>
            {
                var layerProgress = new LayerProgress(progress, layer.Blob);
                bool isStored = HasLayer(layer);
                if (!isStored || !await IsShownAsync(content, layer, token).ConfigureAwait(false))
                {
                    await (isStored ? ProveLayerAsync(content, layer, budget, layerProgress, token) : FetchLayerAsync(content, layer, budget, layerProgress, token)).ConfigureAwait(false);
                    _directory.AddOrigin(layer.Blob.Digest, Origin(content, layer));
                }

                layerProgress.Complete();
            }).ConfigureAwait(false);
    }

    // A layer that came whole from this place before is used again where the place confirms that this repository has its blob.
    // The word of another place counts for nothing: it may be anybody's.
    private async Task<bool> IsShownAsync(IImageContent content, ImageLayer layer, CancellationToken cancellationToken) =>
        _directory.HasOrigin(layer.Blob.Digest, Origin(content, layer)) && await content.HasBlobAsync(layer.Blob, cancellationToken).ConfigureAwait(false);

    // In a flattened store it is the blob that is kept, and what it unpacks to is verified at each use.
    private string Origin(IImageContent content, ImageLayer layer) => $"{(_kind == ImageRootKind.Overlay ? layer.DiffId : "-")} {content.Place}";

    /// <summary>Reads a layer that is stored already from a place that never gave it, so that a place without the layer cannot use it.</summary>
    private async Task ProveLayerAsync(
        IImageContent content, ImageLayer layer, UnpackBudget budget, LayerProgress progress, CancellationToken cancellationToken)
    {
        using PullMemory.Lease buffers = await _memory.TakeBuffersAsync(ComingBytes, cancellationToken).ConfigureAwait(false);
        Stream body = await content.OpenBlobAsync(layer.Blob, cancellationToken).ConfigureAwait(false);
        await using (body.ConfigureAwait(false))
        {
            try
            {
                Stream whole = _kind == ImageRootKind.Overlay
                    ? await LayerStream.OpenAsync(body, layer, progress.Add, length => budget.TakeArchive(length), _memory, cancellationToken).ConfigureAwait(false)
                    : new VerifyingStream(body, layer.Blob.Digest, layer.Blob.Size, $"blob {layer.Blob.Digest}", progress.Add);
                await using (whole.ConfigureAwait(false))
                {
                    await whole.CopyToAsync(Stream.Null, CopyBytes, cancellationToken).ConfigureAwait(false);
                }
            }
            catch (InvalidDataException fault)
            {
                throw new InvalidDataException($"layer {layer.Blob.Digest}: {fault.Message}", fault);
            }
        }
    }

    private async Task RemoveIfDamagedAsync(ImageDescriptor blob, CancellationToken cancellationToken)
    {
        string path = _directory.BlobPath(blob.Digest);
        FileStream file = File.OpenRead(path);
        await using (file.ConfigureAwait(false))
        {
            using var verifying = new VerifyingStream(file, blob.Digest, null, $"blob {blob.Digest}");
            try
            {
                await verifying.CompleteAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (RegistryException fault)
            {
                ImageLog.StoreDamaged(_logger, blob.Digest.ToString(), fault.Message);
                File.Delete(path);
            }
        }
    }

    private async Task FetchLayerAsync(
        IImageContent content, ImageLayer layer, UnpackBudget budget, LayerProgress progress, CancellationToken cancellationToken)
    {
        using PullMemory.Lease buffers = await _memory.TakeBuffersAsync(ComingBytes, cancellationToken).ConfigureAwait(false);
        string temporary = _directory.NewTemporaryPath();
        try
        {
            Stream body = await content.OpenBlobAsync(layer.Blob, cancellationToken).ConfigureAwait(false);
            await using (body.ConfigureAwait(false))
            {
                if (_kind == ImageRootKind.Overlay)
                {
                    MakeRoot(temporary);
                    using NameMemory names = new(_memory);
                    ExtractedLayer extracted = await UnpackAsync(body, layer, temporary, budget, names, progress.Add, cancellationToken).ConfigureAwait(false);
                    _directory.CommitLayer(temporary, layer.DiffId, extracted.ImpliedDirectories);
                }
                else
                {
                    await DownloadAsync(body, layer.Blob, temporary, Count, cancellationToken).ConfigureAwait(false);
                    ImageDirectory.CommitFile(temporary, _directory.BlobPath(layer.Blob.Digest));
                }
            }
        }
        catch
        {
            TreeRemover.Remove(temporary);
            throw;
        }

        void Count(int bytes)
        {
            progress.Add(bytes);
            budget.Write(bytes);
        }
    }

    /// <summary>Makes the directory that a layer is unpacked into. Its mode is what a root has that no archive says anything of.</summary>
    /// <param name="path">The directory.</param>
    public static void MakeRoot(string path)
    {
        Directory.CreateDirectory(path);
        File.SetUnixFileMode(path, (UnixFileMode)0x1ED); // 0755
    }

    private static async Task DownloadAsync(Stream body, ImageDescriptor blob, string target, Action<int> counted, CancellationToken cancellationToken)
    {
        using var verifying = new VerifyingStream(body, blob.Digest, blob.Size, $"blob {blob.Digest}", counted);
        try
        {
            var file = new FileStream(target, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1);
            await using (file.ConfigureAwait(false))
            {
                await verifying.CopyToAsync(file, CopyBytes, cancellationToken).ConfigureAwait(false);
                await verifying.CompleteAsync(cancellationToken).ConfigureAwait(false);
            }
        }
        catch (IOException fault)
        {
            throw new IOException($"layer {blob.Digest}: {fault.Message}", fault);
        }
    }

    /// <summary>Unpacks a layer in one pass: the blob's digest and size, and the diff id, are verified before this returns.</summary>
    private async Task<ExtractedLayer> UnpackAsync(
        Stream body, ImageLayer layer, string target, UnpackBudget budget, NameMemory names, Action<int>? counted, CancellationToken cancellationToken)
    {
        try
        {
            LayerStream archive = await LayerStream.OpenAsync(body, layer, counted, length => budget.TakeArchive(length), _memory, cancellationToken).ConfigureAwait(false);
            await using (archive.ConfigureAwait(false))
            {
                var ahead = new ReadAheadStream(archive, cancellationToken);
                await using (ahead.ConfigureAwait(false))
                {
                    ExtractedLayer extracted = await _options.LayerExtractor.ExtractAsync(
                        ahead,
                        target,
                        new()
                        {
                            Whiteouts = _kind == ImageRootKind.Overlay ? WhiteoutFormat.Overlay : WhiteoutFormat.Applied,
                            KeepOwners = Native.Unistd.geteuid() == 0,
                            MaxEntries = _options.MaxImageEntries,
                            MaxBytes = _options.MaxImageBytes,
                            Budget = budget,
                            Names = names,
                        },
                        cancellationToken).ConfigureAwait(false);

                    // What an extractor left unread belongs to the digests too.
                    await ahead.CopyToAsync(Stream.Null, cancellationToken).ConfigureAwait(false);
                    return extracted;
                }
            }
        }
        catch (InvalidDataException fault)
        {
            throw new InvalidDataException($"layer {layer.Blob.Digest}: {fault.Message}", fault);
        }
        catch (IOException fault)
        {
            throw new IOException($"layer {layer.Blob.Digest}: {fault.Message}", fault);
        }
    }

    /// <summary>Reports how far a layer is, not at every read.</summary>
    private sealed class LayerProgress(IProgress<PullProgress> progress, ImageDescriptor blob)
    {
        private const int Step = 512 * 1024;
        private long _bytes;
        private long _reported;

        public void Add(int bytes)
        {
            _bytes += bytes;
            if (_bytes - _reported >= Step)
            {
                _reported = _bytes;
                progress.Report(new(blob.Digest.ToString(), _bytes, blob.Size, IsStored: false));
            }
        }

        public void Complete() => progress.Report(new(blob.Digest.ToString(), blob.Size, blob.Size, IsStored: true));
    }
}
