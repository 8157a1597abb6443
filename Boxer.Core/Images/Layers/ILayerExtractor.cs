namespace Boxer.Images.Layers;

/// <summary>Unpacks the layers of images. Implementations are safe for concurrent use on different directories.</summary>
public interface ILayerExtractor
{
    /// <summary>
    /// Unpacks one layer (OCI image spec, layer.md) into a directory. The archive is hostile: nothing outside the directory is read,
    /// made or changed, whatever it says.
    /// </summary>
    /// <param name="archive">
    /// The layer as an uncompressed tar archive. It is read to its end, beyond the end-of-archive mark too, so that a stream that verifies a
    /// digest has verified all of it; whoever gives it bounds its length.
    /// </param>
    /// <param name="directory">
    /// An existing directory of this process that nobody else changes meanwhile: empty, or with <see cref="WhiteoutFormat.Applied"/> the
    /// tree of the layers below.
    /// </param>
    /// <param name="options">How it is unpacked.</param>
    /// <param name="cancellationToken">Gives up; the directory is left half unpacked.</param>
    /// <exception cref="InvalidDataException">The archive is malformed, beyond a limit, or refused; the message says which entry and why.</exception>
    /// <exception cref="IOException">A file could not be made.</exception>
    Task<ExtractedLayer> ExtractAsync(Stream archive, string directory, LayerExtractionOptions options, CancellationToken cancellationToken = default);
}

/// <summary>What was found while a layer was unpacked.</summary>
public sealed record ExtractedLayer
{
    /// <summary>
    /// With <see cref="WhiteoutFormat.Overlay"/>: directories that the archive has no entry for, because only what is in them changed, as
    /// paths in the layer (bytes, without a leading slash). They were made with mode 0755; where a lower layer has them, its owner and mode
    /// are meant.
    /// </summary>
    public IReadOnlyList<ReadOnlyMemory<byte>> ImpliedDirectories { get; init; } = [];
}

/// <summary>How a layer is unpacked.</summary>
public sealed class LayerExtractionOptions
{
    /// <summary>What becomes of whiteouts.</summary>
    public required WhiteoutFormat Whiteouts { get; set; }

    /// <summary>
    /// Whether entries get the owner, group and security.capability that the archive names. Without it all belong to this process's
    /// user, who keeps read permission on files and every permission on directories. Needs CAP_CHOWN, CAP_FOWNER and CAP_SETFCAP.
    /// </summary>
    public required bool KeepOwners { get; set; }

    /// <summary>
    /// Files, directories and links that may be made.
    /// <value>Default 1,000,000.</value>
    /// </summary>
    public int MaxEntries { get; set; } = 1_000_000;

    /// <summary>
    /// Bytes that the layer may take on the disk, in blocks of 4 KiB: its files with the holes of sparse ones, and a block for each directory.
    /// <value>Default 16 GiB.</value>
    /// </summary>
    public long MaxBytes { get; set; } = 16L * 1024 * 1024 * 1024;

    /// <summary>
    /// Whether files keep their setuid and setgid bits. A tree that processes of this host could run them from should be mounted nosuid.
    /// <value>Default <see langword="true"/>.</value>
    /// </summary>
    public bool KeepSetId { get; set; } = true;

    /// <summary>
    /// What becomes of devices and FIFOs. None is ever made.
    /// <value>Default <see cref="SpecialFilePolicy.Skip"/>.</value>
    /// </summary>
    public SpecialFilePolicy SpecialFiles { get; set; }

    /// <summary>Bytes of names that are remembered until the end; a million files of usual names have room in the default.</summary>
    internal long MaxNameBytes { get; set; } = 128 * 1024 * 1024;

    /// <summary>What the layers of one image may take together.</summary>
    internal UnpackBudget? Budget { get; set; }

    /// <summary>The budget that remembered names take their memory from; <see langword="null"/>: none.</summary>
    internal NameMemory? Names { get; set; }

    internal LayerExtractionOptions Copy() => (LayerExtractionOptions)MemberwiseClone();
}

/// <summary>What becomes of the devices and FIFOs of a layer.</summary>
public enum SpecialFilePolicy
{
    /// <summary>They are skipped.</summary>
    Skip,

    /// <summary>A layer that has one is rejected.</summary>
    Reject,
}

/// <summary>What becomes of the whiteouts of a layer.</summary>
public enum WhiteoutFormat
{
    /// <summary>
    /// They become what overlayfs understands: character devices 0/0, and <c>trusted.overlay.opaque</c> on directories.
    /// Needs CAP_MKNOD and CAP_SYS_ADMIN.
    /// </summary>
    Overlay,

    /// <summary>What they name is removed from the tree, unless this layer made it.</summary>
    Applied,
}
