namespace Boxer.AspNetCore.Files;

/// <summary>A file that has arrived in a <see cref="FileSpace"/> and has no path yet. Disposing it forgets one that was not published.</summary>
internal sealed class StagedFile : IDisposable
{
    private readonly FileSpace _space;
    private bool _done;

    internal StagedFile(FileSpace space, string location)
    {
        _space = space;
        Location = location;
    }

    /// <summary>Its size in bytes.</summary>
    public long Size { get; internal set; }

    internal string Location { get; }

    /// <summary>
    /// Gives the file its path. What was there before is replaced at once; runs that use it keep what they began with.
    /// </summary>
    /// <param name="path">See <see cref="FileSpace.FindPathFault"/>; not under <c>output/</c>.</param>
    /// <exception cref="InvalidSandboxRequestException">The path cannot be used.</exception>
    /// <exception cref="InvalidOperationException">The file was published or disposed before.</exception>
    public void Publish(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (_done)
        {
            throw new InvalidOperationException("The staged file was published or disposed before.");
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
            _space.Forget(this);
        }
    }
}
