namespace Boxer.AspNetCore.Files;

/// <summary>
/// The files that one run uses. Their content stays the same until this object is disposed, even if they are replaced or deleted meanwhile, so that
/// concurrent runs with the same upload all see its whole content.
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

    /// <summary>Uploads for <see cref="SandboxRequest.Files"/>, executable, in the order of the request.</summary>
    public IReadOnlyList<SandboxFile> Inputs { get; }

    /// <summary>Uploads for the run's workspace, executable.</summary>
    public IReadOnlyList<SandboxFile> WorkspaceFiles { get; }

    /// <summary>Archive for the run's workspace; <see langword="null"/> if there is none.</summary>
    public SandboxInput? WorkspaceArchive { get; }

    /// <summary>Temporary place of the run's outputs. It is deleted with this object, unless <see cref="KeepOutputs"/> moves it.</summary>
    public OutputFilePolicy Outputs => OutputFilePolicy.ToDirectory(_outputs);

    /// <summary>Moves the run's outputs to <c>output/&lt;runId&gt;/</c>, all or none.</summary>
    /// <param name="runId">The identifier of the run, <see cref="SandboxResult.Id"/>.</param>
    /// <returns>The paths and sizes in the space.</returns>
    /// <exception cref="FileStoreFullException">The outputs exceed the limits of the space; none was kept.</exception>
    public IReadOnlyList<StoredFileInfo> KeepOutputs(string runId)
    {
        ArgumentException.ThrowIfNullOrEmpty(runId);
        ObjectDisposedException.ThrowIf(_disposed, this);
        return _space.KeepOutputs(_outputs, runId);
    }

    /// <summary>Deletes the uploads that the run used, unless they were replaced meanwhile.</summary>
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

    // Uploads have no mode, so all of them are executable.
    private static SandboxFile ToInput(FileSpace space, StoredFile file)
    {
        SandboxFile input = SandboxFile.FromStream(file.Path, _ => ValueTask.FromResult(space.OpenRead(file)));
        input.Executable = true;
        return input;
    }
}

/// <summary>Uploads of one run, by their paths in the space.</summary>
internal sealed class RunUploads
{
    /// <summary>
    /// Uploads that appear at <c>/</c> and their path, each listed once.
    /// <value>Default empty.</value>
    /// </summary>
    public IReadOnlyList<string> Files { get; init; } = [];

    /// <summary>
    /// Uploads that are copied into the workspace under their path. A directory stands for all files below it.
    /// <value>Default empty.</value>
    /// </summary>
    public IReadOnlyList<string> Workspace { get; init; } = [];

    /// <summary>
    /// Tar archive that is unpacked into the workspace.
    /// <value>Default <see langword="null"/>: none.</value>
    /// </summary>
    public string? WorkspaceArchive { get; init; }
}

/// <summary>A file in a <see cref="FileSpace"/>.</summary>
/// <param name="Path">Path in the space.</param>
/// <param name="Size">Size in bytes.</param>
internal sealed record StoredFileInfo(string Path, long Size);
