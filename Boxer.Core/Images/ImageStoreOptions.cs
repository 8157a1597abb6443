using System.Net;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Boxer.Images;

/// <summary>Options of an <see cref="ImageStore"/>. They are read once, when the store is made.</summary>
public sealed record ImageStoreOptions
{
    /// <summary>
    /// Where images are kept: an absolute path, made when missing with mode 0700; if it exists it must be a directory of this process's
    /// user that nobody else may enter.
    /// </summary>
    public required string Home { get; init; }

    /// <summary>
    /// A directory of this store alone for overlay mounts of images; made when missing. It holds nothing after the store is disposed.
    /// Mounts that a dead process left there are taken away with <see cref="ImageStore.RemoveAbandonedRoots"/>.
    /// <value>Default <see langword="null"/>: one below <see cref="Home"/>, that <see cref="ImageStore.CleanAbandonedAsync"/> takes away.</value>
    /// </summary>
    public string? RootsDirectory { get; init; }

    /// <summary>
    /// A directory whose tree is put on top of every image's root: directories, regular files and symbolic links, owned by root in the
    /// sandbox. It must not change while the store is in use.
    /// <value>Default <see langword="null"/>: nothing is put on top.</value>
    /// </summary>
    public string? TopLayerDirectory { get; init; }

    /// <summary>
    /// All places that images of a registry come from, in order, by registry name: base URLs such as <c>http://127.0.0.1:5000</c>.
    /// The registry itself is tried only if it is listed.
    /// </summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string>> RegistryMirrors { get; init; } = new Dictionary<string, IReadOnlyList<string>>();

    /// <summary>Registries that images may come from; see <see cref="BoxerOptions.AllowedRegistries"/>.</summary>
    public IReadOnlyList<string> AllowedRegistries { get; init; } = [];

    /// <summary>Files with the authorities (PEM) of registries; see <see cref="BoxerOptions.RegistryCertificates"/>.</summary>
    public IReadOnlyDictionary<string, string> RegistryCertificates { get; init; } = new Dictionary<string, string>();

    /// <summary>Registries whose certificates are not looked at; see <see cref="BoxerOptions.InsecureRegistries"/>.</summary>
    public IReadOnlyList<string> InsecureRegistries { get; init; } = [];

    /// <summary>
    /// Knows credentials of registries, such as <see cref="DockerConfigCredentials"/>.
    /// <value>Default <see langword="null"/>: all are asked as anybody.</value>
    /// </summary>
    public IRegistryCredentials? Credentials { get; init; }

    /// <summary>
    /// The proxy that registries are asked through; never used for loopback addresses.
    /// <value>Default <see langword="null"/>: what HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY say (<see cref="HttpClient.DefaultProxy"/>).</value>
    /// </summary>
    public IWebProxy? Proxy { get; init; }

    /// <summary>
    /// Bytes on the disk that images may take together. Beyond it those are removed that nobody uses, the longest unused first; an image
    /// that needs more by itself is refused. Images in use are never removed, so that a store may have more for as long as they are.
    /// <value>Default <see langword="null"/>: as much as there is room.</value>
    /// </summary>
    public long? MaxStoreBytes { get; init; }

    /// <summary>
    /// How long one image may take to be pulled, however many callers wait for it.
    /// <value>Default 10 min.</value>
    /// </summary>
    public TimeSpan PullTimeout { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>
    /// Pulls at once; more wait.
    /// <value>Default 8.</value>
    /// </summary>
    public int MaxConcurrentPulls { get; init; } = 8;

    /// <summary>
    /// Bytes that the layers of one image together may unpack to: their archives, and what these take on the disk in blocks of 4 KiB.
    /// <value>Default 16 GiB.</value>
    /// </summary>
    public long MaxImageBytes { get; init; } = 16L * 1024 * 1024 * 1024;

    /// <summary>
    /// Files, directories and links that the layers of one image together may unpack to.
    /// <value>Default 1,000,000.</value>
    /// </summary>
    public int MaxImageEntries { get; init; } = 1_000_000;

    /// <summary>
    /// Bytes that stay free on the disk of <see cref="Home"/>, and with them 10,000 inodes: a pull that would take them fails. 0 to fill it.
    /// <value>Default 256 MiB.</value>
    /// </summary>
    public long MinFreeBytes { get; init; } = 256L * 1024 * 1024;

    /// <summary>
    /// How roots are made.
    /// <value>Default <see langword="null"/>: overlay mounts where this process may make them, else flattened trees.</value>
    /// </summary>
    public ImageRootKind? RootKind { get; init; }

    /// <summary>
    /// The platform whose images are taken, as <c>linux/architecture</c> or <c>linux/architecture/variant</c>.
    /// <value>Default <see langword="null"/>: this machine's.</value>
    /// </summary>
    public string? Platform { get; init; }

    /// <summary>
    /// Unpacks layers.
    /// <value>Default <see cref="LayerExtractor"/>.</value>
    /// </summary>
    public ILayerExtractor LayerExtractor { get; init; } = new LayerExtractor();

    /// <summary>The clock of time-outs and retries.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Where the store logs to.</summary>
    public ILoggerFactory LoggerFactory { get; init; } = NullLoggerFactory.Instance;
}

/// <summary>How the root of an image is made of its layers.</summary>
public enum ImageRootKind
{
    /// <summary>A read-only overlayfs mount of layers that are unpacked once and shared by images. Needs CAP_SYS_ADMIN and CAP_MKNOD.</summary>
    Overlay,

    /// <summary>One tree for each image, its layers applied in order. Needs no privilege.</summary>
    Flattened,
}
