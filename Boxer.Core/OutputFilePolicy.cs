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

    /// <summary>Keeps the files in memory. <see cref="SandboxResult.OutputFiles"/> has their contents.</summary>
    public static OutputFilePolicy InMemory { get; } = new(collect: true, directory: null);

    /// <summary>Discards the files with the sandbox. <see cref="SandboxResult.OutputFilesDropped"/> has their minimum number.</summary>
    public static OutputFilePolicy Discard { get; } = new(collect: false, directory: null);

    /// <summary>Whether the files are collected, into memory or into <see cref="Directory"/>.</summary>
    public bool Collects { get; }

    /// <summary>Maximum number of bytes of all files together; <see langword="null"/> means <see cref="ResourceLimits.OutputFilesBytes"/>.</summary>
    public long? MaxBytes { get; }

    /// <summary>Maximum number of collected entries; <see langword="null"/> means <see cref="ResourceLimits.OutputFilesCount"/>.</summary>
    public int? MaxFiles { get; }

    /// <summary>Directory of this host that the files are written to; <see langword="null"/> if they are kept in memory or discarded.</summary>
    public string? Directory { get; }

    /// <summary>
    /// Keeps the files in memory, with tighter bounds than the limits of the run. <see cref="SandboxResult.OutputFilesIncomplete"/> tells if files
    /// were omitted.
    /// </summary>
    /// <param name="maxBytes">Maximum number of bytes of all files together; 0 or more. <see cref="ResourceLimits.OutputFilesBytes"/> still applies.</param>
    /// <param name="maxFiles">Maximum number of collected entries; 0 or more. <see cref="ResourceLimits.OutputFilesCount"/> still applies.</param>
    /// <exception cref="ArgumentOutOfRangeException">A parameter is negative.</exception>
    public static OutputFilePolicy InMemoryUpTo(long maxBytes, int maxFiles)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(maxBytes);
        ArgumentOutOfRangeException.ThrowIfNegative(maxFiles);
        return new(collect: true, directory: null, maxBytes, maxFiles);
    }

    /// <summary>
    /// Writes the files to a directory of this host, with their modes and times. <see cref="SandboxOutputFile.HostPath"/> has the path of each.
    /// </summary>
    /// <param name="directory">
    /// Absolute path that does not exist, in an existing directory; otherwise the request is rejected. The directory is created for the first
    /// output file or directory. If another program created it in the meantime, nothing is written and
    /// <see cref="SandboxResult.OutputFilesIncomplete"/> says so. This process's user can read and write all files and nobody else can write them,
    /// whatever modes the command set.
    /// </param>
    public static OutputFilePolicy ToDirectory(string directory)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        return new(collect: true, directory);
    }

    /// <summary>Returns the directory, or "in memory" or "dropped".</summary>
    public override string ToString() => Directory ?? (!Collects ? "dropped" : MaxBytes is null ? "in memory" : $"in memory, up to {MaxBytes} bytes and {MaxFiles} files");
}
