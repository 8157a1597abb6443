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

    /// <summary>What a registry is asked for.</summary>
    public static readonly IReadOnlyList<string> AcceptedManifests = [OciIndex, DockerList, OciManifest, DockerManifest];

    public const string OciConfig = "application/vnd.oci.image.config.v1+json";
    public const string OciLayer = "application/vnd.oci.image.layer.v1.tar";
    private const string DockerLayer = "application/vnd.docker.image.rootfs.diff.tar";

    /// <summary>What layers may be.</summary>
    public static readonly IReadOnlyList<string> Layers =
        [OciLayer, OciLayer + "+gzip", OciLayer + "+zstd", DockerLayer, DockerLayer + ".gzip", DockerLayer + ".zstd"];
}

/// <summary>What names a blob or a manifest.</summary>
/// <param name="MediaType">What it is.</param>
/// <param name="Digest">Its digest.</param>
/// <param name="Size">Its size in bytes.</param>
internal sealed record ImageDescriptor(string MediaType, ImageDigest Digest, long Size);

/// <summary>A layer of an image.</summary>
/// <param name="Blob">The blob it comes as.</param>
/// <param name="DiffId">The digest of the uncompressed archive.</param>
internal sealed record ImageLayer(ImageDescriptor Blob, ImageDigest DiffId);

/// <summary>The platform that images are chosen for.</summary>
/// <param name="Os">The operating system, <c>linux</c>.</param>
/// <param name="Architecture">The architecture by Go's name.</param>
/// <param name="Variant">The variant, or <see langword="null"/>.</param>
internal sealed record ImagePlatform(string Os, string Architecture, string? Variant)
{
    /// <summary>This machine's.</summary>
    public static ImagePlatform Current { get; } = RuntimeInformation.OSArchitecture switch
    {
        System.Runtime.InteropServices.Architecture.X64 => new("linux", "amd64", null),
        System.Runtime.InteropServices.Architecture.Arm64 => new("linux", "arm64", "v8"),
        System.Runtime.InteropServices.Architecture other => new("linux", other.ToString().ToLowerInvariant(), null),
    };

    /// <summary>The one that options name, or this machine's.</summary>
    /// <param name="platform">os/architecture or os/architecture/variant; <see langword="null"/>: that of this machine.</param>
    /// <exception cref="ArgumentException">The text is no platform.</exception>
    public static ImagePlatform ParseOrCurrent(string? platform) => platform is null ? Current : Parse(platform);

    /// <summary>Parses <c>linux/architecture</c> or <c>linux/architecture/variant</c>.</summary>
    /// <param name="text">The text.</param>
    /// <exception cref="ArgumentException">The text is no platform.</exception>
    public static ImagePlatform Parse(string text) => text.Split('/') switch
    {
        ["linux", { Length: > 0 } architecture] => new("linux", architecture, null),
        ["linux", { Length: > 0 } architecture, { Length: > 0 } variant] => new("linux", architecture, variant),
        _ => throw new ArgumentException($"Platform: \"{text}\" is not a platform; write for example \"linux/amd64\"."),
    };

    /// <inheritdoc/>
    public override string ToString() => $"{Os}/{Architecture}{(Variant is null ? "" : "/" + Variant)}";
}

/// <summary>Reads manifests, indexes and configs. Everything in them is untrusted.</summary>
internal sealed class ImageManifest
{
    /// <summary>
    /// Docker builds and pulls no image of more layers; so many lower directories also fit the page of options that mount(2) takes.
    /// </summary>
    public const int MaxLayers = 127;

    private readonly IReadOnlyList<ImageDescriptor> _layers;

    private ImageManifest(ImageDescriptor config, IReadOnlyList<ImageDescriptor> layers)
    {
        Config = config;
        _layers = layers;
    }

    /// <summary>The config.</summary>
    public ImageDescriptor Config { get; }

    /// <summary>Sum of the sizes of the layers' blobs in bytes.</summary>
    public long LayerBytes => _layers.Sum(layer => layer.Size);

    /// <summary>Reads a manifest, or chooses from an index.</summary>
    /// <param name="content">The bytes.</param>
    /// <param name="contentType">What the place calls them, if that is known.</param>
    /// <param name="platform">The platform that is wanted.</param>
    /// <param name="chosen">The manifest to get next, if this is an index.</param>
    /// <returns>The manifest; <see langword="null"/> if this is an index.</returns>
    /// <exception cref="RegistryException">The content is malformed, not supported, or has nothing for the platform.</exception>
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
            throw Fault($"the manifest is malformed at {RegistryJson.Place(fault)}");
        }

        if (json.SchemaVersion == 1 || json.FsLayers is not null)
        {
            throw Fault("the image has a Docker schema 1 manifest, which carries no layer digests that can be trusted; push it again with a current tool");
        }

        // The document says itself what it is; where it does not, its content must leave no doubt (OCI security advisory GHSA-77vh-xpmg-72qh).
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

    /// <summary>Reads the config and joins it with the manifest.</summary>
    /// <param name="content">The bytes of the config.</param>
    /// <param name="platform">The platform that is wanted; <see langword="null"/> for any.</param>
    /// <param name="layers">The layers, from the lowest up.</param>
    /// <exception cref="RegistryException">The config is malformed, or of another platform.</exception>
    public ImageConfig ReadConfig(ReadOnlySpan<byte> content, ImagePlatform? platform, out IReadOnlyList<ImageLayer> layers)
    {
        ConfigJson json;
        try
        {
            json = JsonSerializer.Deserialize(content, RegistryJson.Default.ConfigJson) ?? throw Fault("the image's config is empty");
        }
        catch (JsonException fault)
        {
            throw Fault($"the image's config is malformed at {RegistryJson.Place(fault)}");
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
            // A name without value unsets a variable for tools that build on the image; there is nothing to unset here.
            Env = [.. (json.Config?.Env ?? []).Where(line => line is not null && line.IndexOf('=', StringComparison.Ordinal) > 0).Select(line => NoNul(line!, "Env"))],
            WorkingDir = ReadWorkingDir(json.Config?.WorkingDir ?? ""),
            User = NoNul(json.Config?.User ?? "", "User"),
            Entrypoint = [.. (json.Config?.Entrypoint ?? []).Select(text => NoNul(text ?? "", "Entrypoint"))],
            Cmd = [.. (json.Config?.Cmd ?? []).Select(text => NoNul(text ?? "", "Cmd"))],
            StopSignal = NoNul(json.Config?.StopSignal ?? "", "StopSignal"),
        };
    }

    // The image alone is at fault: clients may know why.
    private static RegistryException Fault(string message, RegistryFaultKind kind = RegistryFaultKind.Failed) => new RegistryException(message, kind).AsPublic();

    private static ImageDescriptor Choose(List<DescriptorJson?> manifests, ImagePlatform platform)
    {
        // Attestations are listed beside the images that they are about, with a platform that does not exist.
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
        throw Fault($"the image is not there for {platform}; it is for: {(offered.Length > 0 ? offered : "nothing")}", RegistryFaultKind.NotFound);
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
            RefuseUnlessLayer(blob.MediaType);
            return blob;
        })]);
    }

    // How a layer is compressed is seen at its content, as Docker and containerd do: tools call all of them gzip.
    private static void RefuseUnlessLayer(string mediaType)
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

    // Beyond any disk, and small enough to be added up.
    private const long MaxBlobBytes = 1L << 50;

    private static ImageDescriptor ReadDescriptor(DescriptorJson? json) =>
        json is { Size: >= 0 and <= MaxBlobBytes }
            ? new(json.MediaType ?? "", ReadDigest(json.Digest), json.Size)
            : throw Fault("the manifest has a malformed descriptor");

    private static ImageDigest ReadDigest(string? text) =>
        ImageDigest.TryParse(text, out ImageDigest digest) ? digest : throw Fault($"the image names a malformed digest: {UntrustedText.Show(text ?? "")}");

    // A relative directory is below the root, as Docker has it; dots are taken out of the text, as in a path that is opened by nobody yet.
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
