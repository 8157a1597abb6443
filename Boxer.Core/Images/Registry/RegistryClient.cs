using Boxer.Common;
using Boxer.Images.Layers;
using Boxer.Images.Manifests;

namespace Boxer.Images.Registry;

/// <summary>
/// A client of registries (OCI distribution specification) that stores nothing. It gets manifests and blobs from the registries and mirrors of its
/// options, and verifies their digests. Transient failures are retried, and an interrupted download of a blob resumes where it stopped. Safe for
/// concurrent use.
/// </summary>
public sealed class RegistryClient : IDisposable
{
    private readonly RegistryEndpoints _endpoints;
    private readonly RegistryHttp _http;
    private readonly ImagePlatform _platform;

    /// <summary>Creates a client.</summary>
    /// <param name="options">Options of the client.</param>
    /// <exception cref="ArgumentException">An option is invalid; the message names it and the remedy.</exception>
    public RegistryClient(RegistryClientOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        _platform = ImagePlatform.ParseOrCurrent(options.Platform);
        _endpoints = new([.. options.Registries], options.AllowedRegistries);
        _http = new(_endpoints, options);
    }

    /// <summary>Gets the manifest or index that a reference names, as the registry has it. Resolves a tag to its present digest.</summary>
    /// <param name="reference">The reference.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="InvalidSandboxRequestException">Images of this registry are not allowed.</exception>
    /// <exception cref="ImageNotFoundException">No registry or mirror has the image.</exception>
    /// <exception cref="ImagePullException">The manifest could not be fetched.</exception>
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
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="InvalidSandboxRequestException">Images of this registry are not allowed.</exception>
    /// <exception cref="ImageNotFoundException">No registry or mirror has the image for this platform.</exception>
    /// <exception cref="ImagePullException">The image could not be fetched, is malformed, or is not supported.</exception>
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

    /// <summary>Opens a blob as it is in the registry: a config, or a layer with the compression that it was pushed with.</summary>
    /// <param name="reference">Any image of the blob's repository.</param>
    /// <param name="digest">Digest of the blob, <c>sha256:...</c>.</param>
    /// <param name="size">Size of the blob in bytes.</param>
    /// <param name="cancellationToken">Cancels opening the blob.</param>
    /// <returns>
    /// A forward-only stream with asynchronous reads. Do not trust its content before its end: the digest and size are verified there. A read throws
    /// <see cref="ImagePullException"/> if they are wrong, or if the registry does not deliver the whole blob.
    /// </returns>
    /// <exception cref="ArgumentException">The digest is malformed, or the size is negative.</exception>
    /// <exception cref="InvalidSandboxRequestException">Images of this registry are not allowed.</exception>
    /// <exception cref="ImageNotFoundException">No registry or mirror shows the repository.</exception>
    /// <exception cref="ImagePullException">The blob could not be opened.</exception>
    public Task<Stream> OpenBlobAsync(ImageReference reference, string digest, long size, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(size);
        var descriptor = new ImageDescriptor("", ParseDigest(digest, nameof(digest)), size);
        return OpenAsync(reference, descriptor, body => Task.FromResult<Stream>(new VerifyingStream(body, descriptor.Digest, size, $"blob {descriptor.Digest}")), cancellationToken);
    }

    /// <summary>Opens a layer as an uncompressed tar archive, for an <see cref="ILayerExtractor"/>.</summary>
    /// <param name="reference">Any image of the layer's repository.</param>
    /// <param name="layer">The layer.</param>
    /// <param name="cancellationToken">Cancels opening the layer.</param>
    /// <returns>
    /// A forward-only stream with asynchronous reads. The digests of the blob and of the archive are verified at its end, which an
    /// <see cref="ILayerExtractor"/> reads. A read throws <see cref="ImagePullException"/> if they are wrong, or if the registry does not deliver the
    /// whole layer. The length of the archive is not limited. Reading takes up to 128 MiB of memory for a zstd window.
    /// </returns>
    /// <exception cref="ArgumentException">A digest is malformed, or the size is negative.</exception>
    /// <exception cref="InvalidSandboxRequestException">Images of this registry are not allowed.</exception>
    /// <exception cref="ImageNotFoundException">No registry or mirror shows the repository.</exception>
    /// <exception cref="ImagePullException">The layer could not be opened.</exception>
    public Task<Stream> OpenLayerAsync(ImageReference reference, RegistryLayer layer, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(layer);
        ArgumentOutOfRangeException.ThrowIfNegative(layer.Size, nameof(layer));
        var wanted = new ImageLayer(
            new ImageDescriptor(layer.MediaType, ParseDigest(layer.Digest, nameof(layer)), layer.Size), ParseDigest(layer.DiffId, nameof(layer)));
        return OpenAsync(
            reference, wanted.Blob, async body => await LayerStream.OpenAsync(body, wanted, null, null, null, cancellationToken).ConfigureAwait(false), cancellationToken);
    }

    /// <summary>Disposes the client. Streams that it has opened can be read further, but an interrupted download is not resumed.</summary>
    public void Dispose() => _http.Dispose();

    private async Task<T> AskAsync<T>(ImageReference reference, Func<RegistryRepository, Task<T>> ask)
    {
        ArgumentNullException.ThrowIfNull(reference);
        return await _http.AskAsync(reference, _endpoints.For(reference), (repository, _) => ask(repository)).ConfigureAwait(false);
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

    /// <summary>Content whose faults are those of the client.</summary>
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

/// <summary>A manifest or index in a registry.</summary>
/// <param name="Digest">Verified digest, <c>sha256:...</c>.</param>
/// <param name="MediaType">Media type that the registry names, for example <c>application/vnd.oci.image.index.v1+json</c>; empty if it names none.</param>
/// <param name="Content">The manifest's bytes. Untrusted.</param>
public sealed record RegistryManifest(string Digest, string MediaType, ReadOnlyMemory<byte> Content);

/// <summary>An image in a registry.</summary>
/// <param name="Digest">Digest of its manifest, <c>sha256:...</c>.</param>
/// <param name="Config">Settings of its processes. Untrusted.</param>
/// <param name="Layers">Its layers, from the bottom up.</param>
public sealed record RegistryImage(string Digest, ImageConfig Config, IReadOnlyList<RegistryLayer> Layers);

/// <summary>A layer in a registry.</summary>
/// <param name="Digest">Digest of its blob.</param>
/// <param name="Size">Size of its blob in bytes.</param>
/// <param name="MediaType">Media type of its blob. The content tells the compression, whatever the media type is.</param>
/// <param name="DiffId">Digest of its uncompressed archive.</param>
public sealed record RegistryLayer(string Digest, long Size, string MediaType, string DiffId);
