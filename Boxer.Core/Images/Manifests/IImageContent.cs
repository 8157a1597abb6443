namespace Boxer.Images.Manifests;

/// <summary>The manifest and the blobs of one image in a repository or file. Content is not verified, unless a member says so.</summary>
internal interface IImageContent : IDisposable
{
    /// <summary>Gets the manifest or index of the image, verified if the image is named by digest.</summary>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="RegistryException">There is none, or it has another digest.</exception>
    Task<FetchedManifest> GetManifestAsync(CancellationToken cancellationToken);

    /// <summary>Gets a manifest by its digest, verified.</summary>
    /// <param name="digest">The digest.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="RegistryException">There is none, or it has another digest.</exception>
    Task<FetchedManifest> GetManifestAsync(ImageDigest digest, CancellationToken cancellationToken);

    /// <summary>Name of the origin of the blobs, in one line: the address of a repository's registry, or <c>file</c>.</summary>
    string Origin { get; }

    /// <summary>Asks the registry (HEAD) whether this repository has a blob. Files of this host give <see langword="false"/>, and are read instead.</summary>
    /// <param name="descriptor">The blob's descriptor.</param>
    /// <param name="cancellationToken">Cancels the request.</param>
    Task<bool> HasBlobAsync(ImageDescriptor descriptor, CancellationToken cancellationToken);

    /// <summary>Opens a blob. Its content is not verified.</summary>
    /// <param name="descriptor">The blob's descriptor.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="RegistryException">There is no such blob, or it could not be opened.</exception>
    Task<Stream> OpenBlobAsync(ImageDescriptor descriptor, CancellationToken cancellationToken);
}

/// <summary>Extension methods of <see cref="IImageContent"/>.</summary>
internal static class ImageContent
{
    private const int MaxIndexDepth = 2;

    /// <summary>Maximum size of a config in bytes.</summary>
    public const int MaxConfigBytes = 8 * 1024 * 1024;

    /// <summary>Maximum size of a manifest or an index in bytes.</summary>
    public const int MaxManifestBytes = 4 * 1024 * 1024;

    /// <summary>Gets the manifest of the image for a platform, through the indexes that lead to it.</summary>
    /// <param name="content">The image.</param>
    /// <param name="platform">The platform.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="RegistryException">There is none, it is malformed, or it has another digest.</exception>
    public static async Task<(FetchedManifest Fetched, ImageManifest Manifest)> GetImageManifestAsync(
        this IImageContent content, ImagePlatform platform, CancellationToken cancellationToken)
    {
        FetchedManifest fetched = await content.GetManifestAsync(cancellationToken).ConfigureAwait(false);
        for (int depth = 0; ; depth++)
        {
            if (ImageManifest.Read(fetched.Content, fetched.MediaType, platform, out ImageDescriptor? chosen) is { } manifest)
            {
                return (fetched, manifest);
            }

            if (depth == MaxIndexDepth)
            {
                throw new RegistryException($"the image is an index within more than {MaxIndexDepth} others").AsPublic();
            }

            fetched = await content.GetManifestAsync(chosen!.Digest, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Gets a config, verified.</summary>
    /// <param name="content">The image.</param>
    /// <param name="descriptor">The config's descriptor.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="RegistryException">There is none, it is too large, or it has another digest.</exception>
    public static async Task<byte[]> GetConfigAsync(this IImageContent content, ImageDescriptor descriptor, CancellationToken cancellationToken)
    {
        if (descriptor.Size > MaxConfigBytes)
        {
            throw new RegistryException($"the image's config has {descriptor.Size} bytes; {MaxConfigBytes} are allowed").AsPublic();
        }

        using Stream body = await content.OpenBlobAsync(descriptor, cancellationToken).ConfigureAwait(false);
        using var verifying = new VerifyingStream(body, descriptor.Digest, descriptor.Size, $"config {descriptor.Digest}");
        var bytes = new byte[descriptor.Size];
        await verifying.ReadExactlyAsync(bytes, cancellationToken).ConfigureAwait(false);
        await verifying.CompleteAsync(cancellationToken).ConfigureAwait(false);
        return bytes;
    }
}
