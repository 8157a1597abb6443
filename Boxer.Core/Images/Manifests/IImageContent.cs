namespace Boxer.Images.Manifests;

/// <summary>Where the manifest and the blobs of one image are read from. Nothing that it gives is verified, unless it says so.</summary>
internal interface IImageContent : IDisposable
{
    /// <summary>Gets the manifest or index that was asked for, verified where a digest was named.</summary>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="RegistryException">There is none, or it is not what was named.</exception>
    Task<FetchedManifest> GetManifestAsync(CancellationToken cancellationToken);

    /// <summary>Gets a manifest by its digest, verified.</summary>
    /// <param name="digest">The digest.</param>
    /// <param name="cancellationToken">Gives up.</param>
    Task<FetchedManifest> GetManifestAsync(ImageDigest digest, CancellationToken cancellationToken);

    /// <summary>Name of the origin of the blobs, in one line: the address of a repository's registry, or <c>file</c>.</summary>
    string Origin { get; }

    /// <summary>Asks the registry (HEAD) whether this repository has a blob. False for files of this host, which are read instead.</summary>
    /// <param name="descriptor">The blob's descriptor.</param>
    /// <param name="cancellationToken">Cancels the question.</param>
    Task<bool> HasBlobAsync(ImageDescriptor descriptor, CancellationToken cancellationToken);

    /// <summary>Opens a blob as it comes.</summary>
    /// <param name="descriptor">Its descriptor.</param>
    /// <param name="cancellationToken">Gives up.</param>
    Task<Stream> OpenBlobAsync(ImageDescriptor descriptor, CancellationToken cancellationToken);
}

/// <summary>What all places give in the same way.</summary>
internal static class ImageContent
{
    private const int MaxIndexDepth = 2;

    /// <summary>The bytes that a config may have.</summary>
    public const int MaxConfigBytes = 8 * 1024 * 1024;

    /// <summary>The bytes that a manifest or an index may have.</summary>
    public const int MaxManifestBytes = 4 * 1024 * 1024;

    /// <summary>Gets the manifest of the image for a platform, by way of the indexes that lead to it.</summary>
    /// <param name="content">Where from.</param>
    /// <param name="platform">The platform.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="RegistryException">There is none, or it is malformed or not what was named.</exception>
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
    /// <param name="content">Where from.</param>
    /// <param name="descriptor">Its descriptor.</param>
    /// <param name="cancellationToken">Gives up.</param>
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
