namespace Boxer.AspNetCore.Files;

/// <summary>A file that was stored in a <see cref="FileSpace"/> and has no path yet. Disposing it deletes the file unless it was published.</summary>
internal sealed class StagedFile : IDisposable
{
    private readonly FileSpace _space;
    private bool _done;

    internal StagedFile(FileSpace space, string location)
    {
        _space = space;
        Location = location;
    }

    /// <summary>Size in bytes.</summary>
    public long Size { get; internal set; }

    internal string Location { get; }

    /// <summary>
    /// Gives the file its path. An existing file is replaced atomically; runs that use it keep its old content.
    /// </summary>
    /// <param name="path">A path that <see cref="StoredPath.FindFault"/> accepts; not under <c>output/</c>.</param>
    /// <exception cref="InvalidSandboxRequestException">The path cannot be used.</exception>
    /// <exception cref="InvalidOperationException">The file was published or disposed already.</exception>
    public void Publish(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (_done)
        {
            throw new InvalidOperationException("The staged file was published or disposed already.");
        }

        _space.Publish(this, path);
        _done = true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_done)
        {
            _done = true;
            _space.Discard(this);
        }
    }
}
