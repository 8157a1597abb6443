namespace Boxer;

/// <summary>Something that is put into a <see cref="SandboxWorkspace"/>; everything belongs to the user of the command.</summary>
public sealed class SandboxInput
{
    private readonly Func<CancellationToken, ValueTask<Stream>>? _open;

    private SandboxInput(IReadOnlyList<SandboxFile> files, Func<CancellationToken, ValueTask<Stream>>? open)
    {
        FileList = files;
        _open = open;
    }

    internal IReadOnlyList<SandboxFile> FileList { get; }

    internal bool IsArchive => _open is not null;

    /// <summary>Files, with the mode 0644, or 0755 where <see cref="SandboxFile.Executable"/> is set.</summary>
    /// <param name="files">The files. Their paths are relative to the workspace; directories are made.</param>
    public static SandboxInput Files(params IEnumerable<SandboxFile> files)
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
    public static SandboxInput Tar(Func<CancellationToken, ValueTask<Stream>> open)
    {
        ArgumentNullException.ThrowIfNull(open);
        return new([], open);
    }

    /// <summary>As <see cref="Tar(Func{CancellationToken, ValueTask{Stream}})"/>, from memory.</summary>
    /// <param name="archive">The archive; not copied.</param>
    public static SandboxInput Tar(ReadOnlyMemory<byte> archive) => Tar(SandboxFile.FromBytes("archive", archive).OpenAsync);

    /// <summary>As <see cref="Tar(Func{CancellationToken, ValueTask{Stream}})"/>, from a file of this host.</summary>
    /// <param name="hostPath">The file on this host; symbolic links are followed, so it must be trusted.</param>
    public static SandboxInput TarFile(string hostPath) => Tar(SandboxFile.FromHostFile("archive", hostPath).OpenAsync);

    internal ValueTask<Stream> OpenAsync(CancellationToken cancellationToken) => _open!(cancellationToken);
}
