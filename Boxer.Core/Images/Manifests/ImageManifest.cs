using System.Runtime.InteropServices;
using System.Text.Json;
using Boxer.Common;

namespace Boxer.Images.Manifests;

/// <summary>Media types of manifests, configs and layers.</summary>
internal static class ImageMediaTypes
{
    public const string DockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
    public const string DockerList = "application/vnd.docker.distribution.manifest.list.v2+json";
    public const string OciManifest = "application/vnd.oci.image.manifest.v1+json";
    public const string OciIndex = "application/vnd.oci.image.index.v1+json";

    /// <summary>Media types that registries are asked for.</summary>
    public static readonly IReadOnlyList<string> AcceptedManifests = [OciIndex, DockerList, OciManifest, DockerManifest];

    public const string OciConfig = "application/vnd.oci.image.config.v1+json";
    public const string OciLayer = "application/vnd.oci.image.layer.v1.tar";
    private const string DockerLayer = "application/vnd.docker.image.rootfs.diff.tar";

    /// <summary>Media types of layers.</summary>
    public static readonly IReadOnlyList<string> Layers =
        [OciLayer, OciLayer + "+gzip", OciLayer + "+zstd", DockerLayer, DockerLayer + ".gzip", DockerLayer + ".zstd"];
}

/// <summary>The description of a blob or a manifest (OCI image spec, descriptor.md).</summary>
/// <param name="MediaType">Media type of the content.</param>
/// <param name="Digest">Digest of the content.</param>
/// <param name="Size">Size of the content in bytes.</param>
internal sealed record ImageDescriptor(string MediaType, ImageDigest Digest, long Size);

/// <summary>A layer of an image.</summary>
/// <param name="Blob">The layer's blob.</param>
/// <param name="DiffId">Digest of the uncompressed archive.</param>
internal sealed record ImageLayer(ImageDescriptor Blob, ImageDigest DiffId);

/// <summary>A platform that images are chosen for.</summary>
/// <param name="Os">Operating system, <c>linux</c>.</param>
/// <param name="Architecture">Architecture, by Go's name.</param>
/// <param name="Variant">Variant of the architecture; <see langword="null"/> if none.</param>
internal sealed record ImagePlatform(string Os, string Architecture, string? Variant)
{
    /// <summary>The platform of this machine.</summary>
    public static ImagePlatform Current { get; } = RuntimeInformation.OSArchitecture switch
    {
        System.Runtime.InteropServices.Architecture.X64 => new("linux", "amd64", null),
        System.Runtime.InteropServices.Architecture.Arm64 => new("linux", "arm64", "v8"),
        System.Runtime.InteropServices.Architecture other => new("linux", other.ToString().ToLowerInvariant(), null),
    };

    /// <summary>Parses the platform of options.</summary>
    /// <param name="platform"><c>linux/architecture</c> or <c>linux/architecture/variant</c>; <see langword="null"/>: the platform of this machine.</param>
    /// <exception cref="ArgumentException">The text is not a platform.</exception>
    public static ImagePlatform ParseOrCurrent(string? platform) => platform is null ? Current : Parse(platform);

    /// <summary>Parses <c>linux/architecture</c> or <c>linux/architecture/variant</c>.</summary>
    /// <param name="text">The text.</param>
    /// <exception cref="ArgumentException">The text is not a platform.</exception>
    public static ImagePlatform Parse(string text) => text.Split('/') switch
    {
        ["linux", { Length: > 0 } architecture] => new("linux", architecture, null),
        ["linux", { Length: > 0 } architecture, { Length: > 0 } variant] => new("linux", architecture, variant),
        _ => throw new ArgumentException($"Platform: \"{text}\" is not a platform; write for example \"linux/amd64\"."),
    };

    /// <inheritdoc/>
    public override string ToString() => $"{Os}/{Architecture}{(Variant is null ? "" : "/" + Variant)}";
}

/// <summary>The manifest of an image. Reads manifests, indexes and configs, which are untrusted.</summary>
internal sealed class ImageManifest
{
    /// <summary>
    /// Maximum number of layers, as in Docker. This many lower directories also fit the page of options of mount(2).
    /// </summary>
    public const int MaxLayers = 127;

    private readonly IReadOnlyList<ImageDescriptor> _layers;

    private ImageManifest(ImageDescriptor config, IReadOnlyList<ImageDescriptor> layers)
    {
        Config = config;
        _layers = layers;
    }

    /// <summary>Descriptor of the config.</summary>
    public ImageDescriptor Config { get; }

    /// <summary>Sum of the sizes of the layers' blobs in bytes.</summary>
    public long LayerBytes => _layers.Sum(layer => layer.Size);

    /// <summary>Reads a manifest, or chooses a manifest from an index.</summary>
    /// <param name="content">The bytes of the manifest or index.</param>
    /// <param name="contentType">The media type that they were sent with; <see langword="null"/> if none.</param>
    /// <param name="platform">The platform.</param>
    /// <param name="chosen">For an index, the chosen manifest.</param>
    /// <returns>The manifest; <see langword="null"/> for an index.</returns>
    /// <exception cref="RegistryException">The content is malformed, not supported, or has no image for the platform.</exception>
    public static ImageManifest? Read(ReadOnlySpan<byte> content, string? contentType, ImagePlatform platform, out ImageDescriptor? chosen)
    {
        chosen = null;
        ManifestJson json;
        try
        {
            json = JsonSerializer.Deserialize(content, RegistryJson.Default.ManifestJson) ?? throw Fault("the manifest is empty");
        }
        catch (JsonException fault)
        {
            throw Fault($"the manifest is malformed at {RegistryJson.Position(fault)}");
        }

        if (json.SchemaVersion == 1 || json.FsLayers is not null)
        {
            throw Fault("the image has a Docker schema 1 manifest, which carries no layer digests that can be trusted; push it again with a current tool");
        }

        // The document names its own media type, or its content is unambiguous (OCI security advisory GHSA-77vh-xpmg-72qh).
        bool isIndex = json.Manifests is not null;
        if (isIndex == (json.Layers is not null || json.Config is not null))
        {
            throw Fault("the manifest is neither an image manifest nor an index");
        }

        string mediaType = json.MediaType ?? contentType ?? "";
        bool matches = mediaType switch
        {
            ImageMediaTypes.OciIndex or ImageMediaTypes.DockerList => isIndex,
            ImageMediaTypes.OciManifest or ImageMediaTypes.DockerManifest => !isIndex,
            _ => json.MediaType is null,
        };
        if (json.SchemaVersion != 2 || !matches)
        {
            throw Fault($"the manifest is of a kind that is not supported: {UntrustedText.Show(mediaType)}");
        }

        if (isIndex)
        {
            chosen = Choose(json.Manifests!, platform);
            return null;
        }

        return ReadImage(json);
    }

    /// <summary>Reads the config, and joins its diff ids with the layers of the manifest.</summary>
    /// <param name="content">The bytes of the config.</param>
    /// <param name="platform">The platform; <see langword="null"/>: any.</param>
    /// <param name="layers">The layers, from the bottom up.</param>
    /// <exception cref="RegistryException">The config is malformed, or for another platform.</exception>
    public ImageConfig ReadConfig(ReadOnlySpan<byte> content, ImagePlatform? platform, out IReadOnlyList<ImageLayer> layers)
    {
        ConfigJson json;
        try
        {
            json = JsonSerializer.Deserialize(content, RegistryJson.Default.ConfigJson) ?? throw Fault("the image's config is empty");
        }
        catch (JsonException fault)
        {
            throw Fault($"the image's config is malformed at {RegistryJson.Position(fault)}");
        }

        if (platform is not null
            && ((!string.IsNullOrEmpty(json.Os) && json.Os != platform.Os)
                || (!string.IsNullOrEmpty(json.Architecture) && json.Architecture != platform.Architecture)))
        {
            throw Fault(
                $"the image is for {UntrustedText.Show(json.Os ?? "")}/{UntrustedText.Show(json.Architecture ?? "")}, not for {platform}", RegistryFaultKind.NotFound);
        }

        List<string?> diffIds = json.RootFiles?.DiffIds ?? [];
        if (diffIds.Count != _layers.Count)
        {
            throw Fault($"the image's config names {diffIds.Count} layers, its manifest {_layers.Count}");
        }

        layers = [.. _layers.Zip(diffIds, (layer, text) => new ImageLayer(layer, ReadDigest(text)))];
        return new()
        {
            // For build tools, a name without a value unsets a variable. Here it has no effect.
            Env = [.. (json.Config?.Env ?? []).Where(line => line is not null && line.IndexOf('=', StringComparison.Ordinal) > 0).Select(line => NoNul(line!, "Env"))],
            WorkingDir = ReadWorkingDir(json.Config?.WorkingDir ?? ""),
            User = NoNul(json.Config?.User ?? "", "User"),
            Entrypoint = [.. (json.Config?.Entrypoint ?? []).Select(text => NoNul(text ?? "", "Entrypoint"))],
            Cmd = [.. (json.Config?.Cmd ?? []).Select(text => NoNul(text ?? "", "Cmd"))],
            StopSignal = NoNul(json.Config?.StopSignal ?? "", "StopSignal"),
        };
    }

    // These faults are about the image only, so clients may see them.
    private static RegistryException Fault(string message, RegistryFaultKind kind = RegistryFaultKind.Failed) => new RegistryException(message, kind).AsPublic();

    private static ImageDescriptor Choose(List<DescriptorJson?> manifests, ImagePlatform platform)
    {
        // Attestations are listed beside their images, with a platform that does not exist.
        DescriptorJson[] images = [.. manifests.OfType<DescriptorJson>().Where(entry =>
            entry.Annotations?.ContainsKey("vnd.docker.reference.type") != true
            && entry.MediaType is null or ImageMediaTypes.OciManifest or ImageMediaTypes.DockerManifest or ImageMediaTypes.OciIndex or ImageMediaTypes.DockerList)];
        DescriptorJson[] matching = [.. images.Where(entry =>
            entry.Platform is { } of && of.Os == platform.Os && of.Architecture == platform.Architecture)];
        DescriptorJson? chosen = matching.FirstOrDefault(entry => (entry.Platform!.Variant ?? "") == (platform.Variant ?? ""))
            ?? matching.FirstOrDefault(entry => string.IsNullOrEmpty(entry.Platform!.Variant))
            ?? matching.FirstOrDefault(entry => platform.Variant is null && platform.Architecture == "arm64")
            ?? (images is [{ Platform: null } only] ? only : null);
        if (chosen is not null)
        {
            return ReadDescriptor(chosen);
        }

        string offered = string.Join(", ", images.Where(entry => entry.Platform is not null).Take(20)
            .Select(entry => UntrustedText.Show($"{entry.Platform!.Os}/{entry.Platform.Architecture}{(string.IsNullOrEmpty(entry.Platform.Variant) ? "" : "/" + entry.Platform.Variant)}")));
        throw Fault($"the image is not available for {platform}, only for: {(offered.Length > 0 ? offered : "nothing")}", RegistryFaultKind.NotFound);
    }

    private static ImageManifest ReadImage(ManifestJson json)
    {
        ImageDescriptor config = ReadDescriptor(json.Config);
        if (config.MediaType is not (ImageMediaTypes.OciConfig or "application/vnd.docker.container.image.v1+json"))
        {
            throw Fault($"it is not a container image: its config is of the type {UntrustedText.Show(config.MediaType)}");
        }

        List<DescriptorJson?> layers = json.Layers ?? [];
        if (layers.Count > MaxLayers)
        {
            throw Fault($"the image has {layers.Count} layers; {MaxLayers} are allowed");
        }

        return new(config, [.. layers.Select(layer =>
        {
            ImageDescriptor blob = ReadDescriptor(layer);
            RequireLayer(blob.MediaType);
            return blob;
        })]);
    }

    // The content of a layer tells its compression, as in Docker and containerd: some tools call every layer gzip.
    private static void RequireLayer(string mediaType)
    {
        if (mediaType.Contains("foreign", StringComparison.Ordinal) || mediaType.Contains("nondistributable", StringComparison.Ordinal))
        {
            throw Fault("the image has a foreign layer, which its registry does not hold; it cannot be used");
        }

        if (!ImageMediaTypes.Layers.Contains(mediaType, StringComparer.Ordinal))
        {
            throw Fault($"the image has a layer of a type that is not supported: {UntrustedText.Show(mediaType)}");
        }
    }

    // Beyond any disk, and sums of such sizes do not overflow.
    private const long MaxBlobBytes = 1L << 50;

    private static ImageDescriptor ReadDescriptor(DescriptorJson? json) =>
        json is { Size: >= 0 and <= MaxBlobBytes }
            ? new(json.MediaType ?? "", ReadDigest(json.Digest), json.Size)
            : throw Fault("the manifest has a malformed descriptor");

    private static ImageDigest ReadDigest(string? text) =>
        ImageDigest.TryParse(text, out ImageDigest digest) ? digest : throw Fault($"the image names a malformed digest: {UntrustedText.Show(text ?? "")}");

    // A relative directory is below the root, as in Docker. Dots are resolved in the text only; no file is looked up.
    private static string ReadWorkingDir(string text)
    {
        if (text.Length == 0)
        {
            return "";
        }

        if (text.Length > CleanPath.MaxBytes)
        {
            throw Fault($"the image's WorkingDir is longer than {CleanPath.MaxBytes} characters");
        }

        return Path.GetFullPath(NoNul(text, "WorkingDir"), "/");
    }

    private static string NoNul(string text, string what) =>
        text.Contains('\0', StringComparison.Ordinal) ? throw Fault($"the image's {what} has a NUL in it") : text;
}
