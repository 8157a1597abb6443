namespace Boxer.Runtime.Kept;

/// <summary>One operation of a file worker. Disposing it, once or more, ends the worker unless the operation was completed.</summary>
/// <param name="end">Called once with whether the worker can be used further.</param>
internal sealed class FileTurn(Action<bool> end) : IDisposable
{
    private int _isOver;
    private bool _isComplete;

    /// <summary>Takes the last answer of the operation.</summary>
    /// <param name="answer">The answer.</param>
    /// <param name="path">The path of the operation, for exceptions.</param>
    /// <exception cref="GuestFileException">The operation failed. The worker can be used further.</exception>
    /// <exception cref="IOException">The answer is another one.</exception>
    internal void Complete(FileAnswer answer, string path)
    {
        _isComplete = answer is FileDone or FileFailed;
        switch (answer)
        {
            case FileDone:
                return;
            case FileFailed failed:
                throw Failure(failed, path);
            default:
                throw FileChannel.Violation($"it sent {answer.GetType().Name} out of order.");
        }
    }

    /// <summary>Creates the exception of a failure.</summary>
    /// <param name="failed">The failure.</param>
    /// <param name="path">The path of the operation.</param>
    internal static GuestFileException Failure(FileFailed failed, string path) =>
        new(failed.Path.Length == 0 ? path : $"{path.TrimEnd('/')}/{failed.Path}", failed.Errno);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _isOver, 1) == 0)
        {
            end(_isComplete);
        }
    }
}
