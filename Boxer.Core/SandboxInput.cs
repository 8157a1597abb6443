namespace Boxer;

/// <summary>Files or an archive to put into a <see cref="SandboxWorkspace"/>. Everything in it belongs to the user of the command.</summary>
public sealed class SandboxInput
{
    private readonly Func<CancellationToken, ValueTask<Stream>>? _open;

    private SandboxInput(IReadOnlyList<SandboxFile> files, Func<CancellationToken, ValueTask<Stream>>? open)
    {
        Files = files;
        _open = open;
    }

    /// <summary>The files of <see cref="FromFiles"/>; empty for an archive.</summary>
    public IReadOnlyList<SandboxFile> Files { get; }

    /// <summary>Whether this is an archive, which <see cref="OpenReadAsync"/> opens.</summary>
    public bool IsArchive => _open is not null;

    /// <summary>Creates an input from files. Their mode is 0644, or 0755 if <see cref="SandboxFile.Executable"/> is set.</summary>
    /// <param name="files">The files. Their paths are relative to the workspace; missing directories are created.</param>
    public static SandboxInput FromFiles(params IEnumerable<SandboxFile> files)
    {
        ArgumentNullException.ThrowIfNull(files);
        return new([.. files], open: null);
    }

    /// <summary>
    /// Creates an input from a tar archive, plain or compressed with gzip. It keeps files, directories, modes, modification times, and symbolic
    /// links whose target is inside the workspace, but not owners. Setuid, setgid and sticky bits are dropped, and hard links become separate
    /// files. An archive with devices, FIFOs, links that lead out, or names with <c>..</c> or not in UTF-8 is rejected.
    /// </summary>
    /// <param name="open">
    /// Opens the archive, once for each run, and again if the sandbox is found dead before the command started. The stream is disposed after
    /// reading.
    /// </param>
    public static SandboxInput FromTar(Func<CancellationToken, ValueTask<Stream>> open)
    {
        ArgumentNullException.ThrowIfNull(open);
        return new([], open);
    }

    /// <summary>Creates an input from a tar archive in memory; see <see cref="FromTar(Func{CancellationToken, ValueTask{Stream}})"/>.</summary>
    /// <param name="archive">The archive; not copied.</param>
    public static SandboxInput FromTar(ReadOnlyMemory<byte> archive) => FromTar(SandboxFile.FromBytes("archive", archive).OpenReadAsync);

    /// <summary>Creates an input from a tar archive of this host; see <see cref="FromTar(Func{CancellationToken, ValueTask{Stream}})"/>.</summary>
    /// <param name="hostPath">The file on this host. Symbolic links are followed, so the path must be trusted.</param>
    public static SandboxInput FromTarFile(string hostPath) => FromTar(SandboxFile.FromHostFile("archive", hostPath).OpenReadAsync);

    /// <summary>Opens the archive, as a runner does. An archive that comes from a stream may support this only once.</summary>
    /// <param name="cancellationToken">Passed to the delegate that opens the archive.</param>
    /// <returns>A stream that the caller must dispose.</returns>
    /// <exception cref="InvalidOperationException">This input is not an archive.</exception>
    public ValueTask<Stream> OpenReadAsync(CancellationToken cancellationToken = default) =>
        _open is null ? throw new InvalidOperationException($"This input has files and no archive: read {nameof(Files)}.") : _open(cancellationToken);

    /// <summary>Returns the number of files, or that this is an archive.</summary>
    public override string ToString() => IsArchive ? "tar archive" : $"{Files.Count} files";
}
