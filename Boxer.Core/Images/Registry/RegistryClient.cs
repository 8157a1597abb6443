using Boxer.Common;
using Boxer.Images.Layers;
using Boxer.Images.Manifests;

namespace Boxer.Images.Registry;

/// <summary>
/// A client of registries (OCI distribution specification) that keeps nothing: manifests and blobs, from the places that its options name, each
/// verified against its digest. What fails for now is tried again, and a blob goes on where it broke off. Safe for concurrent use.
/// </summary>
public sealed class RegistryClient : IDisposable
{
    private readonly RegistryEndpoints _places;
    private readonly RegistryHttp _http;
    private readonly ImagePlatform _platform;

    /// <summary>Makes a client.</summary>
    /// <param name="options">Its options.</param>
    /// <exception cref="ArgumentException">An option cannot be honoured; the message names it and says what to do.</exception>
    public RegistryClient(RegistryClientOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        _platform = ImagePlatform.ParseOrCurrent(options.Platform);
        _places = new([.. options.Registries], options.AllowedRegistries);
        _http = new(_places, options);
    }

    /// <summary>Gets what a reference names, an image or an index, as the registry has it. By tag, it says what the tag means now.</summary>
    /// <param name="reference">The reference.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="InvalidSandboxRequestException">Images of this registry are not allowed here.</exception>
    /// <exception cref="ImageNotFoundException">No place has it.</exception>
    /// <exception cref="ImagePullException">It could not be had.</exception>
    public Task<RegistryManifest> GetManifestAsync(ImageReference reference, CancellationToken cancellationToken = default) =>
        AskAsync(reference, async repository =>
        {
            using (repository)
            {
                FetchedManifest fetched = await repository.GetManifestAsync(cancellationToken).ConfigureAwait(false);
                return new RegistryManifest(fetched.Digest.ToString(), fetched.MediaType ?? "", fetched.Content);
            }
        });

    /// <summary>Gets the image that a reference means for the platform of the options, with its config.</summary>
    /// <param name="reference">The reference.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="InvalidSandboxRequestException">Images of this registry are not allowed here.</exception>
    /// <exception cref="ImageNotFoundException">No place has it, for this platform.</exception>
    /// <exception cref="ImagePullException">It could not be had, or is not an image that can be used.</exception>
    public Task<RegistryImage> GetImageAsync(ImageReference reference, CancellationToken cancellationToken = default) =>
        AskAsync(reference, async repository =>
        {
            using (repository)
            {
                (FetchedManifest fetched, ImageManifest manifest) = await repository.GetImageManifestAsync(_platform, cancellationToken).ConfigureAwait(false);
                byte[] config = await repository.GetConfigAsync(manifest.Config, cancellationToken).ConfigureAwait(false);
                ImageConfig imageConfig = manifest.ReadConfig(config, _platform, out IReadOnlyList<ImageLayer> layers);
                return new RegistryImage(
                    fetched.Digest.ToString(),
                    imageConfig,
                    [.. layers.Select(layer => new RegistryLayer(layer.Blob.Digest.ToString(), layer.Blob.Size, layer.Blob.MediaType, layer.DiffId.ToString()))]);
            }
        });

    /// <summary>Opens a blob as it is in the registry: a layer compressed as it was pushed, a config.</summary>
    /// <param name="reference">An image of its repository.</param>
    /// <param name="digest">Its digest, <c>sha256:...</c>.</param>
    /// <param name="size">Its size in bytes.</param>
    /// <param name="cancellationToken">Gives up opening it.</param>
    /// <returns>
    /// A stream that is read forwards and asynchronously. Its end comes only where digest and size are right: trust nothing of it before. Reading
    /// throws <see cref="ImagePullException"/> where they are not, or where the registry does not give all.
    /// </returns>
    /// <exception cref="ArgumentException">The digest is malformed, or the size negative.</exception>
    /// <exception cref="InvalidSandboxRequestException">Images of this registry are not allowed here.</exception>
    /// <exception cref="ImageNotFoundException">No place shows the repository.</exception>
    /// <exception cref="ImagePullException">It could not be had.</exception>
    public Task<Stream> OpenBlobAsync(ImageReference reference, string digest, long size, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(size);
        var descriptor = new ImageDescriptor("", ParseDigest(digest, nameof(digest)), size);
        return OpenAsync(reference, descriptor, body => Task.FromResult<Stream>(new VerifyingStream(body, descriptor.Digest, size, $"blob {descriptor.Digest}")), cancellationToken);
    }

    /// <summary>Opens a layer as the tar archive that it is, for an <see cref="ILayerExtractor"/>.</summary>
    /// <param name="reference">An image of its repository.</param>
    /// <param name="layer">The layer.</param>
    /// <param name="cancellationToken">Gives up opening it.</param>
    /// <returns>
    /// A stream that is read forwards and asynchronously. Its end comes only where the digests of the blob and of the archive are right; an
    /// <see cref="ILayerExtractor"/> reads up to there. How much it unpacks to is not bounded, and reading takes up to 128 MiB for a zstd window. It throws
    /// <see cref="ImagePullException"/> where they are not, or where the registry does not give all.
    /// </returns>
    /// <exception cref="ArgumentException">A digest is malformed, or the size negative.</exception>
    /// <exception cref="InvalidSandboxRequestException">Images of this registry are not allowed here.</exception>
    /// <exception cref="ImageNotFoundException">No place shows the repository.</exception>
    /// <exception cref="ImagePullException">It could not be had.</exception>
    public Task<Stream> OpenLayerAsync(ImageReference reference, RegistryLayer layer, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(layer);
        ArgumentOutOfRangeException.ThrowIfNegative(layer.Size, nameof(layer));
        var wanted = new ImageLayer(
            new ImageDescriptor(layer.MediaType, ParseDigest(layer.Digest, nameof(layer)), layer.Size), ParseDigest(layer.DiffId, nameof(layer)));
        return OpenAsync(
            reference, wanted.Blob, async body => await LayerStream.OpenAsync(body, wanted, null, null, null, cancellationToken).ConfigureAwait(false), cancellationToken);
    }

    /// <summary>Ends this client. Streams that it opened are read to their ends, but do not go on where they break off.</summary>
    public void Dispose() => _http.Dispose();

    private async Task<T> AskAsync<T>(ImageReference reference, Func<RegistryRepository, Task<T>> ask)
    {
        ArgumentNullException.ThrowIfNull(reference);
        return await _http.AskAsync(reference, _places.For(reference), (repository, _) => ask(repository)).ConfigureAwait(false);
    }

    private Task<Stream> OpenAsync(ImageReference reference, ImageDescriptor blob, Func<Stream, Task<Stream>> read, CancellationToken cancellationToken) =>
        AskAsync<Stream>(reference, async repository =>
        {
            Stream? body = null;
            try
            {
                body = await repository.OpenBlobAsync(blob, cancellationToken).ConfigureAwait(false);
                return new RegistryContentStream(reference, repository, body, await read(body).ConfigureAwait(false));
            }
            catch
            {
                body?.Dispose();
                repository.Dispose();
                throw;
            }
        });

    private static ImageDigest ParseDigest(string? text, string parameter) => ImageDigest.TryParse(text, out ImageDigest digest)
        ? digest
        : throw new ArgumentException($"\"{UntrustedText.Show(text ?? "")}\" is not a digest; give it as the registry does, such as sha256: and 64 digits.", parameter);

    /// <summary>Content with its faults as those that the client throws.</summary>
    private sealed class RegistryContentStream(ImageReference reference, RegistryRepository repository, Stream body, Stream content) : ForwardStream
    {
        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            try
            {
                return await content.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
            }
            catch (Exception fault) when (fault is RegistryException or InvalidDataException)
            {
                throw new ImagePullException($"A part of {reference} could not be pulled: {fault.Message}.", fault) { PublicMessage = PublicReason.Tell($"A part of the image {reference} could not be pulled", fault) };
            }
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                content.Dispose();
                body.Dispose();
                repository.Dispose();
            }

            base.Dispose(disposing);
        }
    }
}

/// <summary>A manifest as a registry has it.</summary>
/// <param name="Digest">Its digest, <c>sha256:...</c>: verified.</param>
/// <param name="MediaType">What the registry says it is, <c>application/vnd.oci.image.index.v1+json</c> or another; empty where it says nothing.</param>
/// <param name="Content">Its bytes. Untrusted.</param>
public sealed record RegistryManifest(string Digest, string MediaType, ReadOnlyMemory<byte> Content);

/// <summary>An image as a registry has it.</summary>
/// <param name="Digest">The digest of its manifest, <c>sha256:...</c>.</param>
/// <param name="Config">What it says about its processes. Untrusted.</param>
/// <param name="Layers">Its layers, from the lowest up.</param>
public sealed record RegistryImage(string Digest, ImageConfig Config, IReadOnlyList<RegistryLayer> Layers);

/// <summary>A layer as a registry has it.</summary>
/// <param name="Digest">The digest of its blob.</param>
/// <param name="Size">The bytes of its blob.</param>
/// <param name="MediaType">The media type of its blob; how it is compressed is seen at its content.</param>
/// <param name="DiffId">The digest of its uncompressed archive.</param>
public sealed record RegistryLayer(string Digest, long Size, string MediaType, string DiffId);
