namespace Boxer;

/// <summary>Destination of the files that a command writes under <c>/output</c>.</summary>
public sealed class OutputFilePolicy
{
    private OutputFilePolicy(bool collect, string? directory, long? maxBytes = null, int? maxFiles = null)
    {
        Collects = collect;
        Directory = directory;
        MaxBytes = maxBytes;
        MaxFiles = maxFiles;
    }

    /// <summary>Keeps the files in memory: <see cref="SandboxResult.OutputFiles"/> has their contents.</summary>
    public static OutputFilePolicy InMemory { get; } = new(collect: true, directory: null);

    /// <summary>
    /// Drops the files with the sandbox. <see cref="SandboxResult.OutputFilesDropped"/> says how many there were at least.
    /// </summary>
    public static OutputFilePolicy Discard { get; } = new(collect: false, directory: null);

    /// <summary>Whether the files are brought out, into memory or to <see cref="Directory"/>.</summary>
    public bool Collects { get; }

    /// <summary>Maximum number of bytes of all files together; <see langword="null"/> for <see cref="ResourceLimits.OutputFilesBytes"/>.</summary>
    public long? MaxBytes { get; }

    /// <summary>Maximum number of entries that are looked at; <see langword="null"/> for <see cref="ResourceLimits.OutputFilesCount"/>.</summary>
    public int? MaxFiles { get; }

    /// <summary>Directory of this host that the files are written to; <see langword="null"/> where they are kept in memory or dropped.</summary>
    public string? Directory { get; }

    /// <summary>
    /// Keeps the files in memory, up to a size and a number that are smaller than the limits of the run.
    /// <see cref="SandboxResult.OutputFilesIncomplete"/> says what did not fit.
    /// </summary>
    /// <param name="maxBytes">The most bytes of all files together: 0 or more; at most <see cref="ResourceLimits.OutputFilesBytes"/> come.</param>
    /// <param name="maxFiles">The most entries that are looked at: 0 or more; at most <see cref="ResourceLimits.OutputFilesCount"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException">One is negative.</exception>
    public static OutputFilePolicy InMemoryUpTo(long maxBytes, int maxFiles)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(maxBytes);
        ArgumentOutOfRangeException.ThrowIfNegative(maxFiles);
        return new(collect: true, directory: null, maxBytes, maxFiles);
    }

    /// <summary>Writes the files below a directory of this host, with their modes and times. <see cref="SandboxOutputFile.HostPath"/> is the path of each.</summary>
    /// <param name="directory">
    /// An absolute path that does not exist, in a directory that does; else the request is refused. It is made when the first file or directory comes. If
    /// somebody else made it meanwhile, nothing is written, and <see cref="SandboxResult.OutputFilesIncomplete"/> says so. This process's user can read and
    /// write all files, and nobody else can write them, whatever the command set.
    /// </param>
    public static OutputFilePolicy ToDirectory(string directory)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        return new(collect: true, directory);
    }

    /// <summary>Returns the directory, or whether the files are kept in memory or dropped.</summary>
    public override string ToString() => Directory ?? (!Collects ? "dropped" : MaxBytes is null ? "in memory" : $"in memory, up to {MaxBytes} bytes and {MaxFiles} files");
}
