namespace Boxer.AspNetCore.Files;

/// <summary>
/// Counts the bytes and files of one <see cref="FileSpace"/> against its limits. Staged and detached files count too, and directories count as files.
/// Safe for concurrent use.
/// </summary>
internal sealed class FileQuota(FileStoreLimits limits)
{
    private readonly Lock _lock = new();
    private long _bytes;
    private long _files;

    /// <summary>Counts what is on disk already, whatever the limits are.</summary>
    public void AddExisting(long bytes, long files)
    {
        _bytes += bytes;
        _files += files;
    }

    /// <summary>Reserves bytes and files.</summary>
    /// <exception cref="FileStoreFullException">They exceed a limit; nothing is reserved.</exception>
    public void Reserve(long bytes, int files)
    {
        lock (_lock)
        {
            if (_bytes + bytes > limits.MaxBytes)
            {
                throw new FileStoreFullException($"The file space is full: it may hold {limits.MaxBytes} bytes. Delete files that are not needed.");
            }

            if (_files + files > limits.MaxFiles)
            {
                throw new FileStoreFullException($"The file space is full: it may hold {limits.MaxFiles} files. Delete files that are not needed.");
            }

            _bytes += bytes;
            _files += files;
        }
    }

    public void Release(long bytes, int files)
    {
        lock (_lock)
        {
            _bytes -= bytes;
            _files -= files;
        }
    }
}
