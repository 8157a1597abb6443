namespace Boxer;

/// <summary>Something that is put into a <see cref="SandboxWorkspace"/>; everything belongs to the user of the command.</summary>
public sealed class SandboxInput
{
    private readonly Func<CancellationToken, ValueTask<Stream>>? _open;

    private SandboxInput(IReadOnlyList<SandboxFile> files, Func<CancellationToken, ValueTask<Stream>>? open)
    {
        Files = files;
        _open = open;
    }

    /// <summary>The files, of <see cref="FromFiles"/>; empty for an archive.</summary>
    public IReadOnlyList<SandboxFile> Files { get; }

    /// <summary>Whether this is an archive, which <see cref="OpenReadAsync"/> opens.</summary>
    public bool IsArchive => _open is not null;

    /// <summary>Files, with the mode 0644, or 0755 where <see cref="SandboxFile.Executable"/> is set.</summary>
    /// <param name="files">The files. Their paths are relative to the workspace; directories are made.</param>
    public static SandboxInput FromFiles(params IEnumerable<SandboxFile> files)
    {
        ArgumentNullException.ThrowIfNull(files);
        return new([.. files], open: null);
    }

    /// <summary>
    /// A tar archive, as it is or compressed with gzip. Files, directories, modes, modification times and symbolic links whose target is inside the
    /// workspace are kept, owners are not. Setuid, setgid and sticky bits are dropped, and hard links become files of their own. Devices, FIFOs, links that lead
    /// out and names with <c>..</c> or not in UTF-8 are refused.
    /// </summary>
    /// <param name="open">
    /// Opens the archive, once for each run, and again where the sandbox is found dead before the command started. The stream is disposed after it was read.
    /// </param>
    public static SandboxInput FromTar(Func<CancellationToken, ValueTask<Stream>> open)
    {
        ArgumentNullException.ThrowIfNull(open);
        return new([], open);
    }

    /// <summary>As <see cref="FromTar(Func{CancellationToken, ValueTask{Stream}})"/>, from memory.</summary>
    /// <param name="archive">The archive; not copied.</param>
    public static SandboxInput FromTar(ReadOnlyMemory<byte> archive) => FromTar(SandboxFile.FromBytes("archive", archive).OpenReadAsync);

    /// <summary>As <see cref="FromTar(Func{CancellationToken, ValueTask{Stream}})"/>, from a file of this host.</summary>
    /// <param name="hostPath">The file on this host; symbolic links are followed, so it must be trusted.</param>
    public static SandboxInput FromTarFile(string hostPath) => FromTar(SandboxFile.FromHostFile("archive", hostPath).OpenReadAsync);

    /// <summary>Opens the archive, as a runner does. One that comes from a stream may allow it once only.</summary>
    /// <param name="cancellationToken">Is given to what opens the archive.</param>
    /// <returns>A stream for the caller to dispose.</returns>
    /// <exception cref="InvalidOperationException">This is no archive.</exception>
    public ValueTask<Stream> OpenReadAsync(CancellationToken cancellationToken = default) =>
        _open is null ? throw new InvalidOperationException($"This input has files and no archive: read {nameof(Files)}.") : _open(cancellationToken);

    /// <summary>Returns the number of files, or that this is an archive.</summary>
    public override string ToString() => IsArchive ? "tar archive" : $"{Files.Count} files";
}
