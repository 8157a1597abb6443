namespace Boxer.AspNetCore.Files;

/// <summary>
/// The files that one run uses. Until this is disposed their content stays as it was, also when they are replaced or deleted meanwhile;
/// so two runs that use the same upload at once both see the whole of it.
/// </summary>
internal sealed class RunFiles : IDisposable
{
    private readonly FileSpace _space;
    private readonly IReadOnlyList<StoredFile> _inputs;
    private readonly string _outputs;
    private bool _disposed;

    internal RunFiles(FileSpace space, IReadOnlyList<StoredFile> inputs, IReadOnlyList<StoredFile> workspace, StoredFile? archive, string outputs)
    {
        _space = space;
        _inputs = [.. inputs, .. workspace, .. archive is null ? (StoredFile[])[] : [archive]];
        _outputs = outputs;
        Inputs = [.. inputs.Select(file => ToInput(space, file))];
        WorkspaceFiles = [.. workspace.Select(file => ToInput(space, file))];
        WorkspaceArchive = archive is null ? null : SandboxInput.FromTar(_ => ValueTask.FromResult(space.OpenRead(archive)));
    }

    /// <summary>The uploads as <see cref="SandboxRequest.Files"/>, executable, in the order that was asked for.</summary>
    public IReadOnlyList<SandboxFile> Inputs { get; }

    /// <summary>The uploads for the run's workspace, executable.</summary>
    public IReadOnlyList<SandboxFile> WorkspaceFiles { get; }

    /// <summary>The archive for the run's workspace, or <see langword="null"/>.</summary>
    public SandboxInput? WorkspaceArchive { get; }

    /// <summary>Where the run's outputs go until <see cref="KeepOutputs"/>; removed with this.</summary>
    public OutputFilePolicy Outputs => OutputFilePolicy.ToDirectory(_outputs);

    /// <summary>Moves the run's outputs to <c>output/&lt;runId&gt;/</c>, all or none of them.</summary>
    /// <param name="runId">The identifier of the run, <see cref="SandboxResult.Id"/>.</param>
    /// <returns>The paths and sizes in the space.</returns>
    /// <exception cref="FileStoreFullException">They do not fit; none was kept.</exception>
    public IReadOnlyList<StoredFileInfo> KeepOutputs(string runId)
    {
        ArgumentException.ThrowIfNullOrEmpty(runId);
        ObjectDisposedException.ThrowIf(_disposed, this);
        return _space.KeepOutputs(_outputs, runId);
    }

    /// <summary>Deletes the uploads that the run used, except those that were replaced since.</summary>
    public void DeleteInputs()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _space.Delete(_inputs);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            _space.Release(_inputs, _outputs);
        }
    }

    // An upload has no mode: whether it is a program is for the command to know.
    private static SandboxFile ToInput(FileSpace space, StoredFile file)
    {
        SandboxFile input = SandboxFile.FromStream(file.Path, _ => ValueTask.FromResult(space.OpenRead(file)));
        input.Executable = true;
        return input;
    }
}

/// <summary>The uploads that one run gets, by their paths in the space.</summary>
internal sealed class RunUploads
{
    /// <summary>
    /// The uploads that appear at <c>/</c> and their path, each once.
    /// <value>Default empty.</value>
    /// </summary>
    public IReadOnlyList<string> Files { get; init; } = [];

    /// <summary>
    /// The uploads that are put into the workspace at their path; a directory stands for all files below it.
    /// <value>Default empty.</value>
    /// </summary>
    public IReadOnlyList<string> Workspace { get; init; } = [];

    /// <summary>
    /// A tar archive that is unpacked into the workspace.
    /// <value>Default <see langword="null"/>: none.</value>
    /// </summary>
    public string? WorkspaceArchive { get; init; }
}

/// <summary>A file in a <see cref="FileSpace"/>.</summary>
/// <param name="Path">Its path in the space.</param>
/// <param name="Size">Its size in bytes.</param>
internal sealed record StoredFileInfo(string Path, long Size);
