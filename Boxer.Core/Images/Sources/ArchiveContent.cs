using System.Security.Cryptography;
using System.Text.Json;
using Boxer.Common;
using Boxer.Images.Layers;
using Boxer.Images.Manifests;

namespace Boxer.Images.Sources;

/// <summary>
/// An image from a source without a manifest. A manifest is made from its config and layers; equal content gives an equal manifest. The files are read
/// once for their digests, before anything is unpacked.
/// </summary>
internal sealed class ArchiveContent : IImageContent
{
    private readonly ISourceFiles _files;
    private readonly byte[] _config;
    private readonly FetchedManifest _manifest;
    private readonly Dictionary<ImageDigest, string> _layers;

    private ArchiveContent(ISourceFiles files, byte[] config, FetchedManifest manifest, Dictionary<ImageDigest, string> layers)
    {
        _files = files;
        _config = config;
        _manifest = manifest;
        _layers = layers;
    }

    /// <summary>Reads an archive of <c>docker save</c> (Docker image specification 1.2, "Combined Image JSON + Filesystem Changeset Format").</summary>
    /// <param name="files">The archive's files; disposed with the returned image.</param>
    /// <param name="name">A reference of the image; <see langword="null"/> if the archive has only one image.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="RegistryException">There is no such image, or the archive is malformed.</exception>
    public static async Task<ArchiveContent> OfDockerAsync(ISourceFiles files, string? name, CancellationToken cancellationToken)
    {
        byte[] list = await SourceReader.ReadAsync(files, "manifest.json", ImageContent.MaxManifestBytes, cancellationToken).ConfigureAwait(false);
        DockerArchiveJson[] images;
        try
        {
            images = [.. (JsonSerializer.Deserialize(list, RegistryJson.Default.ListDockerArchiveJson) ?? []).OfType<DockerArchiveJson>()];
        }
        catch (JsonException fault)
        {
            throw new RegistryException($"manifest.json is malformed at {RegistryJson.Position(fault)}");
        }

        DockerArchiveJson[] named = name is null ? images : [.. images.Where(image => image.RepoTags?.Any(tag => IsNamed(tag, name)) == true)];
        string names = string.Join(", ", images.SelectMany(image => image.RepoTags ?? []).OfType<string>().Take(20).Select(UntrustedText.Show).DefaultIfEmpty("nothing"));
        if (named is not [{ Config: { } configName } image])
        {
            throw named.Length > 1
                ? new RegistryException($"manifest.json names {named.Length} images; say which: {names}")
                : new RegistryException(name is null ? "manifest.json names no image" : $"manifest.json names no image \"{name}\"; it names: {names}", RegistryFaultKind.NotFound);
        }

        byte[] config = await SourceReader.ReadAsync(files, configName, ImageContent.MaxManifestBytes, cancellationToken).ConfigureAwait(false);
        string[] layers = [.. (image.Layers ?? []).Select(layer => layer ?? throw new RegistryException("manifest.json has a layer without a name"))];
        if (layers.Length > ImageManifest.MaxLayers)
        {
            throw new RegistryException($"the image has {layers.Length} layers; {ImageManifest.MaxLayers} are allowed").AsPublic();
        }

        var descriptors = new List<ImageDescriptor>();
        var byDigest = new Dictionary<ImageDigest, string>();
        foreach (string layer in layers)
        {
            ImageDescriptor descriptor = await DescribeAsync(files, layer, cancellationToken).ConfigureAwait(false);
            descriptors.Add(descriptor);
            byDigest[descriptor.Digest] = layer;
        }

        return new(files, config, Manifest(config, descriptors), byDigest);
    }

    /// <summary>Makes an image from the archive of a root file system.</summary>
    /// <param name="files">The files that contain the archive; disposed with the returned image.</param>
    /// <param name="name">The archive's name.</param>
    /// <param name="platform">Platform of the image.</param>
    /// <param name="limit">Maximum size of the uncompressed archive in bytes.</param>
    /// <param name="memory">Memory budget of decompression.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="InvalidDataException">The archive is malformed or too large.</exception>
    public static async Task<ArchiveContent> OfRootAsync(ISourceFiles files, string name, ImagePlatform platform, long limit, PullMemory memory, CancellationToken cancellationToken)
    {
        ImageDescriptor layer = await DescribeAsync(files, name, cancellationToken).ConfigureAwait(false);
        ImageDigest diffId;
        using (Stream file = SourceReader.Open(files, name))
        {
            Stream plain = await Decompression.OpenAsync(file, memory, cancellationToken).ConfigureAwait(false);
            await using (plain.ConfigureAwait(false))
            {
                (diffId, _) = await HashAsync(plain, limit, cancellationToken).ConfigureAwait(false);
            }
        }

        byte[] config = JsonSerializer.SerializeToUtf8Bytes(
            new ConfigJson { Os = platform.Os, Architecture = platform.Architecture, RootFiles = new RootFilesJson { Type = "layers", DiffIds = [diffId.ToString()] } },
            RegistryJson.Default.ConfigJson);
        return new(files, config, Manifest(config, [layer]), new() { [layer.Digest] = name });
    }

    /// <inheritdoc/>
    public Task<FetchedManifest> GetManifestAsync(CancellationToken cancellationToken) => Task.FromResult(_manifest);

    /// <inheritdoc/>
    public Task<FetchedManifest> GetManifestAsync(ImageDigest digest, CancellationToken cancellationToken) =>
        throw new RegistryException("it has no index", RegistryFaultKind.NotFound);

    /// <inheritdoc/>
    public string Origin => "file";

    /// <inheritdoc/>
    public Task<bool> HasBlobAsync(ImageDescriptor descriptor, CancellationToken cancellationToken) => Task.FromResult(false);

    /// <inheritdoc/>
    public Task<Stream> OpenBlobAsync(ImageDescriptor descriptor, CancellationToken cancellationToken) => Task.FromResult(
        _layers.TryGetValue(descriptor.Digest, out string? layer) ? SourceReader.Open(_files, layer) : new MemoryStream(_config, writable: false));

    /// <inheritdoc/>
    public void Dispose() => _files.Dispose();

    // References are compared in canonical form.
    private static bool IsNamed(string? tag, string name) =>
        tag == name || (ImageReference.TryParse(tag, out ImageReference? one) && ImageReference.TryParse(name, out ImageReference? other) && one == other);

    private static async Task<ImageDescriptor> DescribeAsync(ISourceFiles files, string name, CancellationToken cancellationToken)
    {
        using Stream file = SourceReader.Open(files, name);
        (ImageDigest digest, long size) = await HashAsync(file, long.MaxValue, cancellationToken).ConfigureAwait(false);
        return new(ImageMediaTypes.OciLayer, digest, size);
    }

    private static async Task<(ImageDigest Digest, long Length)> HashAsync(Stream content, long limit, CancellationToken cancellationToken)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var buffer = new byte[128 * 1024];
        long size = 0;
        int length;
        while ((length = await content.ReadAsync(buffer, cancellationToken).ConfigureAwait(false)) > 0)
        {
            hash.AppendData(buffer, 0, length);
            size += length;
            if (size > limit)
            {
                throw new InvalidDataException($"the image unpacks to more than {limit} bytes").AsPublic();
            }
        }

        return (ImageDigest.Sha256Of(hash), size);
    }

    private static FetchedManifest Manifest(byte[] config, List<ImageDescriptor> layers)
    {
        byte[] content = JsonSerializer.SerializeToUtf8Bytes(
            new ManifestJson
            {
                SchemaVersion = 2,
                MediaType = ImageMediaTypes.OciManifest,
                Config = new DescriptorJson { MediaType = ImageMediaTypes.OciConfig, Digest = ImageDigest.Sha256Of(config).ToString(), Size = config.Length },
                Layers = [.. layers.Select(layer => new DescriptorJson { MediaType = layer.MediaType, Digest = layer.Digest.ToString(), Size = layer.Size })],
            },
            RegistryJson.Default.ManifestJson);
        return new(content, ImageMediaTypes.OciManifest, ImageDigest.Sha256Of(content));
    }
}
