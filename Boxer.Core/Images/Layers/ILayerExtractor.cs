namespace Boxer.Images;

/// <summary>Unpacks the layers of images. Implementations are safe for concurrent use on different directories.</summary>
public interface ILayerExtractor
{
    /// <summary>
    /// Unpacks one layer (OCI image spec, layer.md) into a directory. The archive is hostile: nothing outside the directory is read,
    /// made or changed, whatever it says.
    /// </summary>
    /// <param name="archive">The layer as an uncompressed tar archive. It is read at least up to its end-of-archive mark; whoever gives it bounds its length.</param>
    /// <param name="directory">
    /// An existing directory of this process that nobody else changes meanwhile: empty, or with <see cref="WhiteoutFormat.Applied"/> the
    /// tree of the layers below.
    /// </param>
    /// <param name="options">How it is unpacked.</param>
    /// <param name="cancellationToken">Gives up; the directory is left half unpacked.</param>
    /// <exception cref="InvalidDataException">The archive is malformed, beyond a limit, or refused; the message says which entry and why.</exception>
    /// <exception cref="IOException">A file could not be made.</exception>
    Task ExtractAsync(Stream archive, string directory, LayerExtractionOptions options, CancellationToken cancellationToken = default);
}

/// <summary>How a layer is unpacked.</summary>
public sealed record LayerExtractionOptions
{
    /// <summary>What becomes of whiteouts.</summary>
    public required WhiteoutFormat Whiteouts { get; init; }

    /// <summary>
    /// Whether entries get the owner, group and security.capability that the archive names. Without it all belong to this process's
    /// user, who keeps read permission on files and every permission on directories. Needs CAP_CHOWN, CAP_FOWNER and CAP_SETFCAP.
    /// </summary>
    public required bool KeepOwners { get; init; }

    /// <summary>
    /// Files, directories and links that may be made.
    /// <value>Default 1,000,000.</value>
    /// </summary>
    public int MaxEntries { get; init; } = 1_000_000;

    /// <summary>
    /// Bytes that the files of the layer may have together, holes of sparse files included.
    /// <value>Default 16 GiB.</value>
    /// </summary>
    public long MaxBytes { get; init; } = 16L * 1024 * 1024 * 1024;
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
