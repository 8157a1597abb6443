namespace Boxer.Images.Layers;

/// <summary>Unpacks the layers of images. Implementations are safe for concurrent use on different directories.</summary>
public interface ILayerExtractor
{
    /// <summary>
    /// Unpacks one layer (OCI image spec, layer.md) into a directory. The archive may be hostile: nothing outside the directory is read, created or
    /// changed, whatever the archive contains.
    /// </summary>
    /// <param name="archive">
    /// The layer as an uncompressed tar archive. It is read to its end, also beyond the end-of-archive mark, so that a stream that verifies a digest
    /// verifies all of it. The caller limits its length.
    /// </param>
    /// <param name="directory">
    /// An existing directory that only this process changes meanwhile. It is empty, or with <see cref="WhiteoutFormat.Applied"/> has the tree of the
    /// lower layers.
    /// </param>
    /// <param name="options">How the layer is unpacked.</param>
    /// <param name="cancellationToken">Cancels the operation; the directory is left incomplete.</param>
    /// <returns>Facts about the layer.</returns>
    /// <exception cref="InvalidDataException">The archive is malformed, exceeds a limit, or is rejected; the message names the entry and the reason.</exception>
    /// <exception cref="IOException">A file cannot be written.</exception>
    Task<ExtractedLayer> ExtractAsync(Stream archive, string directory, LayerExtractionOptions options, CancellationToken cancellationToken = default);
}

/// <summary>Facts about a layer that were found while it was unpacked.</summary>
public sealed record ExtractedLayer
{
    /// <summary>
    /// Directories without an entry in the archive, because only their content changed: paths in the layer as bytes, without a leading slash. They
    /// were created with mode 0755, but should have the owner and mode of a lower layer that has an entry. Only with
    /// <see cref="WhiteoutFormat.Overlay"/>.
    /// </summary>
    public IReadOnlyList<ReadOnlyMemory<byte>> ImpliedDirectories { get; init; } = [];
}

/// <summary>Options of unpacking a layer.</summary>
public sealed class LayerExtractionOptions
{
    /// <summary>How whiteouts are unpacked.</summary>
    public required WhiteoutFormat Whiteouts { get; set; }

    /// <summary>
    /// Whether entries get the owner, group and security.capability that the archive names. This requires CAP_CHOWN, CAP_FOWNER and CAP_SETFCAP.
    /// Otherwise all entries belong to this process's user, who keeps read permission on files and every permission on directories.
    /// </summary>
    public required bool KeepOwners { get; set; }

    /// <summary>
    /// Maximum number of files, directories and links.
    /// <value>Default 1,000,000.</value>
    /// </summary>
    public int MaxEntries { get; set; } = 1_000_000;

    /// <summary>
    /// Maximum bytes of the layer on the disk, in blocks of 4 KiB: its files, including holes of sparse files, and one block for each directory.
    /// <value>Default 16 GiB.</value>
    /// </summary>
    public long MaxBytes { get; set; } = 16L * 1024 * 1024 * 1024;

    /// <summary>
    /// Whether files keep their setuid and setgid bits. Mount the tree nosuid if processes of this host can run files from it.
    /// <value>Default <see langword="true"/>.</value>
    /// </summary>
    public bool KeepSetId { get; set; } = true;

    /// <summary>
    /// How devices and FIFOs are handled. None is ever created.
    /// <value>Default <see cref="SpecialFilePolicy.Skip"/>.</value>
    /// </summary>
    public SpecialFilePolicy SpecialFiles { get; set; }

    /// <summary>Maximum bytes of file names that are kept in memory while the layer is unpacked. The default is enough for a million files with usual names.</summary>
    internal long MaxNameBytes { get; set; } = 128 * 1024 * 1024;

    /// <summary>Budget of all layers of the image; <see langword="null"/>: none.</summary>
    internal UnpackBudget? Budget { get; set; }

    /// <summary>Memory budget of file names; <see langword="null"/>: none.</summary>
    internal NameMemory? Names { get; set; }

    internal LayerExtractionOptions Copy() => (LayerExtractionOptions)MemberwiseClone();
}

/// <summary>Ways to handle devices and FIFOs of a layer.</summary>
public enum SpecialFilePolicy
{
    /// <summary>Devices and FIFOs are skipped.</summary>
    Skip,

    /// <summary>A layer with a device or FIFO is rejected.</summary>
    Reject,
}

/// <summary>Ways to unpack the whiteouts of a layer.</summary>
public enum WhiteoutFormat
{
    /// <summary>
    /// Whiteouts take overlayfs's form: character devices 0/0, and <c>trusted.overlay.opaque</c> on directories. Requires CAP_MKNOD and
    /// CAP_SYS_ADMIN.
    /// </summary>
    Overlay,

    /// <summary>Entries that whiteouts name are removed from the tree, unless this layer has written them.</summary>
    Applied,
}
