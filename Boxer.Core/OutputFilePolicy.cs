namespace Boxer;

/// <summary>What becomes of the files that a command writes under <c>/output</c>.</summary>
public sealed class OutputFilePolicy
{
    private OutputFilePolicy(bool collect, string? directory, long? maxBytes = null, int? maxFiles = null)
    {
        Collects = collect;
        Directory = directory;
        MaxBytes = maxBytes;
        MaxFiles = maxFiles;
    }

    /// <summary>They are in <see cref="SandboxResult.OutputFiles"/> as bytes.</summary>
    public static OutputFilePolicy InMemory { get; } = new(collect: true, directory: null);

    /// <summary>
    /// Drops the files with the sandbox; <see cref="SandboxResult.OutputFilesDropped"/> says how many there were.
    /// </summary>
    public static OutputFilePolicy Discard { get; } = new(collect: false, directory: null);

    /// <summary>Whether the files are brought out, into memory or to <see cref="Directory"/>.</summary>
    public bool Collects { get; }

    /// <summary>The most bytes of all of them that are taken; <see langword="null"/> for the limit of the run.</summary>
    public long? MaxBytes { get; }

    /// <summary>The most of them that are taken; <see langword="null"/> for the limit of the run.</summary>
    public int? MaxFiles { get; }

    /// <summary>The directory of this host that they are written to; <see langword="null"/> where they are kept in memory or dropped.</summary>
    public string? Directory { get; }

    /// <summary>
    /// They are in <see cref="SandboxResult.OutputFiles"/> as bytes, up to a size and a number that are smaller than what the run may write;
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

    /// <summary>They are written below a directory of this host, with their modes and times, and <see cref="SandboxResult.OutputFiles"/> tells where.</summary>
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

    /// <summary>Returns the directory, or whether they are kept in memory or dropped.</summary>
    public override string ToString() => Directory ?? (!Collects ? "dropped" : MaxBytes is null ? "in memory" : $"in memory, up to {MaxBytes} bytes and {MaxFiles} files");
}
