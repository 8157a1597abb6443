namespace Boxer;

/// <summary>What becomes of the files that a command writes under <c>/output</c>.</summary>
public sealed class SandboxOutputs
{
    private SandboxOutputs(bool collect, string? directory, long? maxBytes = null, int? maxFiles = null)
    {
        Collect = collect;
        Directory = directory;
        MaxBytes = maxBytes;
        MaxFiles = maxFiles;
    }

    /// <summary>They are in <see cref="SandboxResult.Outputs"/> as bytes.</summary>
    public static SandboxOutputs InMemory { get; } = new(collect: true, directory: null);

    /// <summary>
    /// Drops the files with the sandbox; <see cref="SandboxResult.OutputsDropped"/> says how many there were.
    /// </summary>
    public static SandboxOutputs Discard { get; } = new(collect: false, directory: null);

    internal bool Collect { get; }

    /// <summary>The most bytes of all of them that are taken; <see langword="null"/> for the limit of the run.</summary>
    internal long? MaxBytes { get; }

    /// <summary>The most of them that are taken; <see langword="null"/> for the limit of the run.</summary>
    internal int? MaxFiles { get; }

    internal string? Directory { get; }

    /// <summary>
    /// They are in <see cref="SandboxResult.Outputs"/> as bytes, up to a size and a number that are smaller than what the run may write;
    /// <see cref="SandboxResult.OutputsIncomplete"/> says what did not fit.
    /// </summary>
    /// <param name="maxBytes">The most bytes of all files together: 0 or more; at most <see cref="ResourceLimits.OutputFilesBytes"/> come.</param>
    /// <param name="maxFiles">The most files and directories: 0 or more; at most <see cref="ResourceLimits.OutputFilesCount"/> come.</param>
    /// <exception cref="ArgumentOutOfRangeException">One is negative.</exception>
    public static SandboxOutputs InMemoryUpTo(long maxBytes, int maxFiles)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(maxBytes);
        ArgumentOutOfRangeException.ThrowIfNegative(maxFiles);
        return new(collect: true, directory: null, maxBytes, maxFiles);
    }

    /// <summary>They are written below a directory of this host, with their modes and times, and <see cref="SandboxResult.Outputs"/> tells where.</summary>
    /// <param name="directory">An absolute path. It is made when the first file comes; where it exists before, nothing is written, and
    /// <see cref="SandboxResult.OutputsIncomplete"/> says so. Its user can read and write all files, and nobody else can write them, whatever
    /// the command set.</param>
    public static SandboxOutputs ToDirectory(string directory)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        return new(collect: true, directory);
    }
}
