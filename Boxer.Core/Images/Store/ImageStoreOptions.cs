using System.Net;
using Boxer.Images.Layers;
using Boxer.Images.Registry;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Boxer.Images.Store;

/// <summary>Options of an <see cref="ImageStore"/>. The store copies them when it is created.</summary>
public sealed class ImageStoreOptions
{
    private const long MaxFreeBytes = 1L << 50;

    /// <summary>
    /// Directory of the images, an absolute path. A missing directory is created with mode 0700. An existing one must belong to this process's user,
    /// and no other user may enter it.
    /// <value>Default <c>~/.boxer</c>, as <see cref="BoxerOptions.Home"/>.</value>
    /// </summary>
    public string Home { get; set; } = BoxerOptions.DefaultHome();

    /// <summary>
    /// Mirrors, certificate authorities and security of registries, one entry for each registry.
    /// <value>Default empty: each registry is reached itself, over https at a public address.</value>
    /// </summary>
    public IList<RegistryOptions> Registries { get; set; } = [];

    /// <summary>
    /// Registries that images may be pulled from, as <c>host</c> or <c>host:port</c>; see <see cref="BoxerOptions.AllowedRegistries"/>.
    /// <value>Default empty: every registry at a public address, and those with a mirror.</value>
    /// </summary>
    public IList<string> AllowedRegistries { get; set; } = [];

    /// <summary>
    /// Source of registry credentials, such as <see cref="DockerConfigCredentials"/>.
    /// <value>Default <see langword="null"/>: anonymous access.</value>
    /// </summary>
    public IRegistryCredentials? Credentials { get; set; }

    /// <summary>
    /// Proxy for requests to registries; not used for loopback addresses.
    /// <value>Default <see langword="null"/>: the proxy of HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY (<see cref="HttpClient.DefaultProxy"/>).</value>
    /// </summary>
    public IWebProxy? Proxy { get; set; }

    /// <summary>
    /// Platform of the images to pull, as <c>linux/architecture</c> or <c>linux/architecture/variant</c>.
    /// <value>Default <see langword="null"/>: the platform of this machine.</value>
    /// </summary>
    public string? Platform { get; set; }

    /// <summary>
    /// Directory for overlay mounts of images, created if missing. No other store can use it at the same time. It is empty after the store is
    /// disposed.
    /// <value>Default <see langword="null"/>: a directory below <see cref="Home"/>, which <see cref="ImageStore.CleanAbandonedAsync"/> removes.</value>
    /// </summary>
    internal string? RootsDirectory { get; set; }

    /// <summary>
    /// Directory whose tree is put on top of every image's root. It has directories, regular files and symbolic links, owned by root in the
    /// sandbox, and must not change while the store is in use.
    /// <value>Default <see langword="null"/>: nothing is put on top.</value>
    /// </summary>
    internal string? TopLayerDirectory { get; set; }

    /// <summary>
    /// Maximum bytes that all images may take on the disk; at least 1. Beyond it unused images are evicted, the least recently used first. An image that is
    /// larger by itself is rejected. Images in use are never evicted, so the store may exceed the maximum while they are in use.
    /// <value>Default <see langword="null"/>: limited by free disk space only.</value>
    /// </summary>
    public long? MaxImageStoreBytes { get; set; }

    /// <summary>
    /// Maximum time to pull one image; at least 1 s. Callers that wait for the same pull share it.
    /// <value>Default 10 min.</value>
    /// </summary>
    public TimeSpan PullTimeout { get; set; } = TimeSpan.FromMinutes(10);

    /// <summary>
    /// Maximum number of concurrent pulls; at least 1. Further pulls wait.
    /// <value>Default 8.</value>
    /// </summary>
    public int MaxConcurrentPulls { get; set; } = 8;

    /// <summary>
    /// Maximum bytes that all layers of one image may unpack to; at least 1. It bounds both the archives and their files on the disk, which count in
    /// blocks of 4 KiB.
    /// <value>Default 16 GiB.</value>
    /// </summary>
    public long MaxImageBytes { get; set; } = 16L * 1024 * 1024 * 1024;

    /// <summary>
    /// Maximum number of files, directories and links in all layers of one image; at least 1.
    /// <value>Default 1,000,000.</value>
    /// </summary>
    public int MaxImageEntries { get; set; } = 1_000_000;

    /// <summary>
    /// Bytes to keep free on the disk of <see cref="Home"/>, together with 10,000 inodes; 0 to 1 PiB. A pull that would need them fails. With 0, pulls
    /// may fill the disk.
    /// <value>Default 256 MiB.</value>
    /// </summary>
    public long MinFreeDiskBytes { get; set; } = 256L * 1024 * 1024;

    /// <summary>
    /// Maximum bytes of this process's memory that all pulls and imports may take for decompression, buffers and file names; 64 MiB to 64 GiB.
    /// Layers wait for it in turn. A layer that takes more than half of it to decompress is rejected, and so is an image whose layers have too many
    /// directories without entries. A zstd window of more than 128 MiB is always rejected.
    /// <value>Default 512 MiB.</value>
    /// </summary>
    public long PullMemoryBytes { get; set; } = 512L * 1024 * 1024;

    /// <summary>
    /// How the store makes roots.
    /// <value>Default <see langword="null"/>: overlay mounts if this process can make them, otherwise flattened trees.</value>
    /// </summary>
    public ImageRootKind? RootKind { get; set; }

    /// <summary>
    /// Unpacks layers. A custom extractor gets the limits of entries and bytes for each layer by itself, in its options, and is not stopped by
    /// <see cref="MinFreeDiskBytes"/>.
    /// <value>Default <see cref="LayerExtractor"/>.</value>
    /// </summary>
    public ILayerExtractor LayerExtractor { get; set; } = new LayerExtractor();

    /// <summary>
    /// Clock of timeouts, retries and times of last use.
    /// <value>Default <see cref="System.TimeProvider.System"/>.</value>
    /// </summary>
    public TimeProvider TimeProvider { get; set; } = TimeProvider.System;

    /// <summary>
    /// Creates loggers.
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

    /// <summary>Checks the ranges of all numbers.</summary>
    /// <param name="options">The options.</param>
    /// <exception cref="ArgumentOutOfRangeException">A number is out of its range.</exception>
    internal static void Validate(ImageStoreOptions options)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.PullTimeout, TimeSpan.FromSeconds(1));
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxConcurrentPulls, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxImageBytes, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxImageEntries, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(options.MinFreeDiskBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.MinFreeDiskBytes, MaxFreeBytes);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.PullMemoryBytes, PullMemory.LeastBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.PullMemoryBytes, PullMemory.MostBytes);
        if (options.MaxImageStoreBytes is { } bytes)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(bytes, 1, nameof(options.MaxImageStoreBytes));
        }
    }

    /// <summary>Checks that directories are absolute, and that the top layer exists.</summary>
    /// <param name="options">The options.</param>
    /// <exception cref="ArgumentException">A directory is relative or missing.</exception>
    internal static void ValidateDirectories(ImageStoreOptions options)
    {
        foreach ((string name, string? path) in (ReadOnlySpan<(string, string?)>)[(nameof(options.Home), options.Home), (nameof(options.RootsDirectory), options.RootsDirectory)])
        {
            if (path is not null && !Path.IsPathFullyQualified(path))
            {
                throw new ArgumentException($"{name}: \"{path}\" is not an absolute path; write it out in full.");
            }
        }

        if (options.TopLayerDirectory is not null && !Directory.Exists(options.TopLayerDirectory))
        {
            throw new ArgumentException($"TopLayerDirectory: {options.TopLayerDirectory} is not a directory.");
        }
    }
}

/// <summary>How the root of an image is made from its layers.</summary>
public enum ImageRootKind
{
    /// <summary>A read-only overlayfs mount of layers that are unpacked once and shared by images. Requires CAP_SYS_ADMIN and CAP_MKNOD.</summary>
    Overlay,

    /// <summary>One tree for each image, with its layers applied in order. Requires no privileges.</summary>
    Flattened,
}
