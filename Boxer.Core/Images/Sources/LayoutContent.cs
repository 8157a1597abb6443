using System.Text.Json;
using Boxer.Common;
using Boxer.Images.Manifests;

namespace Boxer.Images.Sources;

/// <summary>An image in an OCI image layout (OCI image spec, image-layout.md).</summary>
/// <param name="files">The layout's files; disposed with this image.</param>
/// <param name="name">The image's org.opencontainers.image.ref.name; <see langword="null"/> if the layout has only one image.</param>
internal sealed class LayoutContent(ISourceFiles files, string? name) : IImageContent
{
    private const string ReferenceName = "org.opencontainers.image.ref.name";

    /// <inheritdoc/>
    public async Task<FetchedManifest> GetManifestAsync(CancellationToken cancellationToken)
    {
        byte[] index = await SourceReader.ReadAsync(files, "index.json", ImageContent.MaxManifestBytes, cancellationToken).ConfigureAwait(false);
        DescriptorJson[] manifests;
        try
        {
            manifests = [.. (JsonSerializer.Deserialize(index, RegistryJson.Default.ManifestJson)?.Manifests ?? []).OfType<DescriptorJson>()];
        }
        catch (JsonException fault)
        {
            throw new RegistryException($"index.json is malformed at {RegistryJson.Position(fault)}");
        }

        DescriptorJson[] named = name is null ? manifests : [.. manifests.Where(entry => entry.Annotations?.GetValueOrDefault(ReferenceName) == name)];
        if (named.Length == 0)
        {
            throw new RegistryException(
                name is null ? "index.json names no image" : $"index.json names no image \"{name}\"; it names: {Names(manifests)}", RegistryFaultKind.NotFound);
        }

        // Some tools list the platforms of one image side by side. Then the index itself is the image's index.
        bool isIndex = named.Length > 1 && named.All(entry => entry.Platform is not null);
        if (named.Length > 1 && !isIndex)
        {
            throw new RegistryException($"index.json names {named.Length} images; say which: {Names(manifests)}");
        }

        if (isIndex)
        {
            byte[] content = JsonSerializer.SerializeToUtf8Bytes(
                new ManifestJson { SchemaVersion = 2, MediaType = ImageMediaTypes.OciIndex, Manifests = [.. named] }, RegistryJson.Default.ManifestJson);
            return new(content, ImageMediaTypes.OciIndex, ImageDigest.Sha256Of(content));
        }

        return ImageDigest.TryParse(named[0].Digest, out ImageDigest digest)
            ? await GetManifestAsync(digest, cancellationToken).ConfigureAwait(false)
            : throw new RegistryException("index.json has a malformed digest");
    }

    /// <inheritdoc/>
    public async Task<FetchedManifest> GetManifestAsync(ImageDigest digest, CancellationToken cancellationToken)
    {
        byte[] content = await SourceReader.ReadAsync(files, BlobName(digest), ImageContent.MaxManifestBytes, cancellationToken).ConfigureAwait(false);
        return digest.Of(content) == digest
            ? new(content, null, digest)
            : throw new RegistryException($"manifest {digest} has the digest {digest.Of(content)}");
    }

    /// <inheritdoc/>
    public string Origin => "file";

    /// <inheritdoc/>
    public Task<bool> HasBlobAsync(ImageDescriptor descriptor, CancellationToken cancellationToken) => Task.FromResult(false);

    /// <inheritdoc/>
    public Task<Stream> OpenBlobAsync(ImageDescriptor descriptor, CancellationToken cancellationToken) =>
        Task.FromResult(SourceReader.Open(files, BlobName(descriptor.Digest)));

    /// <inheritdoc/>
    public void Dispose() => files.Dispose();

    private static string BlobName(ImageDigest digest) => $"blobs/{digest.Algorithm}/{digest.Hex}";

    private static string Names(IEnumerable<DescriptorJson> manifests) =>
        string.Join(", ", manifests.Select(entry => entry.Annotations?.GetValueOrDefault(ReferenceName)).OfType<string>().Take(20).Select(UntrustedText.Show).DefaultIfEmpty("nothing"));
}

/// <summary>Reads files of a source.</summary>
internal static class SourceReader
{
    /// <summary>Opens a file that must exist.</summary>
    /// <param name="files">The files.</param>
    /// <param name="name">The file's name.</param>
    /// <exception cref="RegistryException">There is no such file.</exception>
    public static Stream Open(ISourceFiles files, string name) =>
        files.Open(name) ?? throw new RegistryException($"there is no file {UntrustedText.Show(name)} in it", RegistryFaultKind.NotFound);

    /// <summary>Reads a small file that must exist.</summary>
    /// <param name="files">The files.</param>
    /// <param name="name">The file's name.</param>
    /// <param name="limit">Maximum size in bytes.</param>
    /// <param name="cancellationToken">Cancels the read.</param>
    /// <exception cref="RegistryException">There is no such file, or it is too large.</exception>
    public static async Task<byte[]> ReadAsync(ISourceFiles files, string name, int limit, CancellationToken cancellationToken)
    {
        using Stream file = Open(files, name);
        if (file.Length > limit)
        {
            throw new RegistryException($"{UntrustedText.Show(name)} has {file.Length} bytes; {limit} are allowed");
        }

        var content = new byte[file.Length];
        await file.ReadExactlyAsync(content, cancellationToken).ConfigureAwait(false);
        return content;
    }
}
