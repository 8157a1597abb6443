namespace Boxer.Images;

/// <summary>Options of an <see cref="ImageStore"/>. They are read once, when the store is made.</summary>
public sealed record ImageStoreOptions : RegistryClientOptions
{
    /// <summary>
    /// Where images are kept: an absolute path, made when missing with mode 0700; if it exists it must be a directory of this process's
    /// user that nobody else may enter.
    /// </summary>
    public required string Home { get; init; }

    /// <summary>
    /// A directory of this store alone for overlay mounts of images; made when missing. It holds nothing after the store is disposed.
    /// Another store cannot have it meanwhile.
    /// <value>Default <see langword="null"/>: one below <see cref="Home"/>, that <see cref="ImageStore.CleanAbandonedAsync"/> takes away.</value>
    /// </summary>
    internal string? RootsDirectory { get; init; }

    /// <summary>
    /// A directory whose tree is put on top of every image's root: directories, regular files and symbolic links, owned by root in the
    /// sandbox. It must not change while the store is in use.
    /// <value>Default <see langword="null"/>: nothing is put on top.</value>
    /// </summary>
    internal string? TopLayerDirectory { get; init; }

    /// <summary>
    /// Bytes on the disk that images may take together. Beyond it those are removed that nobody uses, the longest unused first; an image
    /// that needs more by itself is refused. Images in use are never removed, so that a store may have more for as long as they are.
    /// <value>Default <see langword="null"/>: as much as there is room.</value>
    /// </summary>
    public long? MaxImageStoreBytes { get; init; }

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
    public long MinFreeDiskBytes { get; init; } = 256L * 1024 * 1024;

    /// <summary>
    /// Bytes of this process's memory that pulls and imports together may take for decompression, buffers and names of files; 64 MiB to 64 GiB.
    /// Layers wait for it in turn. One that takes more than half of it to decompress is refused, an image whose layers have too many directories
    /// without entries for that half too, and, in any case, a zstd window of more than 128 MiB.
    /// <value>Default 512 MiB.</value>
    /// </summary>
    public long PullMemoryBytes { get; init; } = 512L * 1024 * 1024;

    /// <summary>
    /// How roots are made.
    /// <value>Default <see langword="null"/>: overlay mounts where this process may make them, else flattened trees.</value>
    /// </summary>
    public ImageRootKind? RootKind { get; init; }

    /// <summary>
    /// Unpacks layers. Another one than Boxer's counts entries and bytes of the disk for each layer by itself, by its options, and is not
    /// stopped by <see cref="MinFreeDiskBytes"/>.
    /// <value>Default <see cref="LayerExtractor"/>.</value>
    /// </summary>
    public ILayerExtractor LayerExtractor { get; init; } = new LayerExtractor();
}

/// <summary>How the root of an image is made of its layers.</summary>
public enum ImageRootKind
{
    /// <summary>A read-only overlayfs mount of layers that are unpacked once and shared by images. Needs CAP_SYS_ADMIN and CAP_MKNOD.</summary>
    Overlay,

    /// <summary>One tree for each image, its layers applied in order. Needs no privilege.</summary>
    Flattened,
}
