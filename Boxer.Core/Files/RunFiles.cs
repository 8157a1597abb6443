namespace Boxer.Files;

/// <summary>
/// The files that one run uses. Until this is disposed their content stays as it was, also when they are replaced or deleted meanwhile;
/// so two runs that use the same upload at once both see the whole of it.
/// </summary>
public sealed class RunFiles : IDisposable
{
    private readonly FileSpace _space;
    private readonly IReadOnlyList<StoredFile> _inputs;
    private readonly string _outputs;
    private bool _disposed;

    internal RunFiles(FileSpace space, IReadOnlyList<StoredFile> inputs, string outputs)
    {
        _space = space;
        _inputs = inputs;
        _outputs = outputs;
        Inputs = [.. inputs.Select(file => ToInput(space, file))];
    }

    /// <summary>The uploads as <see cref="SandboxRequest.Files"/>, executable, in the order that was asked for.</summary>
    public IReadOnlyList<SandboxFile> Inputs { get; }

    /// <summary>Where the run's outputs go until <see cref="KeepOutputs"/>; removed with this.</summary>
    public SandboxOutputs Outputs => SandboxOutputs.ToDirectory(_outputs);

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

/// <summary>A file in a <see cref="FileSpace"/>.</summary>
/// <param name="Path">Its path in the space.</param>
/// <param name="Size">Its size in bytes.</param>
public sealed record StoredFileInfo(string Path, long Size);
