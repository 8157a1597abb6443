using System.Net;
using Boxer.Images.Layers;
using Boxer.Images.Registry;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Boxer.Images.Store;

/// <summary>Options of an <see cref="ImageStore"/>. They are read once, when the store is made.</summary>
public sealed class ImageStoreOptions
{
    /// <summary>
    /// Where images are kept: an absolute path, made when missing with mode 0700; if it exists it must be a directory of this process's
    /// user that nobody else may enter.
    /// <value>Default <c>~/.boxer</c>, as <see cref="BoxerOptions.Home"/>.</value>
    /// </summary>
    public string Home { get; set; } = BoxerOptions.DefaultHome();

    /// <summary>
    /// How registries are reached: their mirrors, certificate authorities and access, one entry for each registry.
    /// <value>Default empty: each registry itself, over https at a public address.</value>
    /// </summary>
    public IList<RegistryOptions> Registries { get; set; } = [];

    /// <summary>
    /// Registries that images may come from, as <c>host</c> or <c>host:port</c>; see <see cref="BoxerOptions.AllowedRegistries"/>.
    /// <value>Default empty: every registry at a public address, and those with a mirror.</value>
    /// </summary>
    public IList<string> AllowedRegistries { get; set; } = [];

    /// <summary>
    /// Knows credentials of registries, such as <see cref="DockerConfigCredentials"/>.
    /// <value>Default <see langword="null"/>: anonymous access.</value>
    /// </summary>
    public IRegistryCredentials? Credentials { get; set; }

    /// <summary>
    /// The proxy for requests to registries; never used for loopback addresses.
    /// <value>Default <see langword="null"/>: the proxy of HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY (<see cref="HttpClient.DefaultProxy"/>).</value>
    /// </summary>
    public IWebProxy? Proxy { get; set; }

    /// <summary>
    /// The platform whose images are used, as <c>linux/architecture</c> or <c>linux/architecture/variant</c>.
    /// <value>Default <see langword="null"/>: this machine's.</value>
    /// </summary>
    public string? Platform { get; set; }

    /// <summary>
    /// A directory of this store alone for overlay mounts of images; made when missing. It holds nothing after the store is disposed.
    /// Another store cannot have it meanwhile.
    /// <value>Default <see langword="null"/>: one below <see cref="Home"/>, that <see cref="ImageStore.CleanAbandonedAsync"/> takes away.</value>
    /// </summary>
    internal string? RootsDirectory { get; set; }

    /// <summary>
    /// A directory whose tree is put on top of every image's root: directories, regular files and symbolic links, owned by root in the
    /// sandbox. It must not change while the store is in use.
    /// <value>Default <see langword="null"/>: nothing is put on top.</value>
    /// </summary>
    internal string? TopLayerDirectory { get; set; }

    /// <summary>
    /// Bytes on the disk that images may take together. Beyond it those are removed that nobody uses, the longest unused first; an image
    /// that needs more by itself is refused. Images in use are never removed, so that a store may have more for as long as they are.
    /// <value>Default <see langword="null"/>: as much as there is room.</value>
    /// </summary>
    public long? MaxImageStoreBytes { get; set; }

    /// <summary>
    /// How long one image may take to be pulled, however many callers wait for it.
    /// <value>Default 10 min.</value>
    /// </summary>
    public TimeSpan PullTimeout { get; set; } = TimeSpan.FromMinutes(10);

    /// <summary>
    /// Pulls at once; more wait.
    /// <value>Default 8.</value>
    /// </summary>
    public int MaxConcurrentPulls { get; set; } = 8;

    /// <summary>
    /// Bytes that the layers of one image together may unpack to: their archives, and what these take on the disk in blocks of 4 KiB.
    /// <value>Default 16 GiB.</value>
    /// </summary>
    public long MaxImageBytes { get; set; } = 16L * 1024 * 1024 * 1024;

    /// <summary>
    /// Files, directories and links that the layers of one image together may unpack to.
    /// <value>Default 1,000,000.</value>
    /// </summary>
    public int MaxImageEntries { get; set; } = 1_000_000;

    /// <summary>
    /// Bytes that stay free on the disk of <see cref="Home"/>, and with them 10,000 inodes: a pull that would take them fails. 0 to fill it.
    /// <value>Default 256 MiB.</value>
    /// </summary>
    public long MinFreeDiskBytes { get; set; } = 256L * 1024 * 1024;

    /// <summary>
    /// Bytes of this process's memory that pulls and imports together may take for decompression, buffers and names of files; 64 MiB to 64 GiB.
    /// Layers wait for it in turn. One that takes more than half of it to decompress is refused, an image whose layers have too many directories
    /// without entries for that half too, and, in any case, a zstd window of more than 128 MiB.
    /// <value>Default 512 MiB.</value>
    /// </summary>
    public long PullMemoryBytes { get; set; } = 512L * 1024 * 1024;

    /// <summary>
    /// How roots are made.
    /// <value>Default <see langword="null"/>: overlay mounts where this process may make them, else flattened trees.</value>
    /// </summary>
    public ImageRootKind? RootKind { get; set; }

    /// <summary>
    /// Unpacks layers. Another one than Boxer's counts entries and bytes of the disk for each layer by itself, by its options, and is not
    /// stopped by <see cref="MinFreeDiskBytes"/>.
    /// <value>Default <see cref="LayerExtractor"/>.</value>
    /// </summary>
    public ILayerExtractor LayerExtractor { get; set; } = new LayerExtractor();

    /// <summary>
    /// The clock of time-outs, retries and of when an image was last used.
    /// <value>Default <see cref="System.TimeProvider.System"/>.</value>
    /// </summary>
    public TimeProvider TimeProvider { get; set; } = TimeProvider.System;

    /// <summary>
    /// Makes loggers.
    /// <value>Default: nothing is logged.</value>
    /// </summary>
    public ILoggerFactory LoggerFactory { get; set; } = NullLoggerFactory.Instance;

    internal RegistryClientOptions ForRegistries() => new()
    {
        Registries = Registries,
        AllowedRegistries = AllowedRegistries,
        Credentials = Credentials,
        Proxy = Proxy,
        Platform = Platform,
        TimeProvider = TimeProvider,
        LoggerFactory = LoggerFactory,
    };

    internal ImageStoreOptions Copy() => (ImageStoreOptions)MemberwiseClone();
}

/// <summary>How the root of an image is made of its layers.</summary>
public enum ImageRootKind
{
    /// <summary>A read-only overlayfs mount of layers that are unpacked once and shared by images. Needs CAP_SYS_ADMIN and CAP_MKNOD.</summary>
    Overlay,

    /// <summary>One tree for each image, its layers applied in order. Needs no privilege.</summary>
    Flattened,
}
