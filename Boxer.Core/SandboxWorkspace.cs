using Boxer.Common;

namespace Boxer;

/// <summary>
/// A directory that belongs to the user of the command and that the command can write. It is filled before the command starts, and is its working
/// directory unless <see cref="SandboxRequest.WorkingDirectory"/> is set. It hides the image's directory of that path. A <c>$HOME</c> below it is
/// part of it. It shares <see cref="ResourceLimits.DiskBytes"/> with <c>/tmp</c> and the other directories of that limit.
/// </summary>
public sealed class SandboxWorkspace
{
    /// <summary>Creates an empty workspace.</summary>
    public SandboxWorkspace()
    {
    }

    /// <summary>Creates a copy. Contents of inputs are shared.</summary>
    /// <param name="other">The workspace to copy.</param>
    public SandboxWorkspace(SandboxWorkspace other)
    {
        ArgumentNullException.ThrowIfNull(other);
        Path = other.Path;
        Inputs = [.. other.Inputs];
        MaxBytes = other.MaxBytes;
        MaxEntries = other.MaxEntries;
        MaxChangesBytes = other.MaxChangesBytes;
    }

    /// <summary>
    /// Path of the directory: absolute and clean; not <c>/</c>, and not <c>/proc</c>, <c>/sys</c>, <c>/dev</c>, <c>/.boxer</c>, <c>/output</c> or
    /// below one of them.
    /// <value>Default <c>/workspace</c>.</value>
    /// </summary>
    public string Path { get; set; } = "/workspace";

    /// <summary>
    /// Inputs that are put into the workspace, in order. A file or link replaces an earlier one of the same path. A file in place of an earlier
    /// directory, or the reverse, is rejected.
    /// <value>Default empty.</value>
    /// </summary>
    public IList<SandboxInput> Inputs { get; init; } = [];

    /// <summary>
    /// Maximum number of bytes of the files of all inputs together; 1 to 64 GiB. A file that occurs twice counts twice.
    /// <value>Default 64 MiB.</value>
    /// </summary>
    public long MaxBytes { get; set; } = 64 << 20;

    /// <summary>
    /// Maximum number of entries of all inputs together, and maximum number of returned entries; 1 to 100,000. Entries may be nested 64 deep. Paths
    /// and link targets together may have 256 characters for each entry allowed here, but at least 1,048,576.
    /// <value>Default 10,000.</value>
    /// </summary>
    public int MaxEntries { get; set; } = 10_000;

    /// <summary>
    /// Maximum number of bytes of <see cref="SandboxResult.WorkspaceChanges"/>, which are kept in memory; 0 to 1 GiB, and at most
    /// <see cref="ResourceLimits.OutputFilesBytes"/>.
    /// <value>Default 0: no changes are returned.</value>
    /// </summary>
    public long MaxChangesBytes { get; set; }

    /// <summary>Returns the path and the number of inputs.</summary>
    public override string ToString() => $"{UntrustedText.Show(Path)} with {Inputs.Count} inputs";
}
