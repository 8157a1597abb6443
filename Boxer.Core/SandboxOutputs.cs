namespace Boxer;

/// <summary>What becomes of the files that a command writes under <c>/output</c>.</summary>
public sealed class SandboxOutputs
{
    private SandboxOutputs(bool collect, string? directory)
    {
        Collect = collect;
        Directory = directory;
    }

    /// <summary>They are in <see cref="SandboxResult.Outputs"/> as bytes.</summary>
    public static SandboxOutputs InMemory { get; } = new(collect: true, directory: null);

    /// <summary>They are thrown away with the sandbox.</summary>
    public static SandboxOutputs Discard { get; } = new(collect: false, directory: null);

    internal bool Collect { get; }

    internal string? Directory { get; }

    /// <summary>They are written below a directory of this host, and <see cref="SandboxResult.Outputs"/> tells where.</summary>
    /// <param name="directory">An absolute path. It is made when the first file comes; where it exists before, nothing is written, and
    /// <see cref="SandboxResult.OutputsIncomplete"/> says so.</param>
    public static SandboxOutputs ToDirectory(string directory)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        return new(collect: true, directory);
    }
}
