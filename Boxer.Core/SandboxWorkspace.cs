using Boxer.Common;

namespace Boxer;

/// <summary>
/// A directory that belongs to the user of the command, who can write it. It is filled before the command starts, and is its working directory
/// unless <see cref="SandboxRequest.WorkingDirectory"/> is set. What the image has there is hidden. A <c>$HOME</c> below it is a directory of it. It shares <see cref="ResourceLimits.DiskBytes"/>
/// with <c>/tmp</c> and the other directories of that limit.
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
    /// The directory: absolute and clean, and not <c>/</c>, <c>/proc</c>, <c>/sys</c>, <c>/dev</c>, <c>/.boxer</c>, <c>/output</c> or below one of them.
    /// <value>Default <c>/workspace</c>.</value>
    /// </summary>
    public string Path { get; set; } = "/workspace";

    /// <summary>
    /// What is put into it, in this order: a file or link of a later one takes the place of an earlier one of the same path. A file where
    /// another has a directory, or the reverse, is refused.
    /// <value>Default empty.</value>
    /// </summary>
    public IList<SandboxInput> Inputs { get; init; } = [];

    /// <summary>
    /// The most bytes of the files of all inputs together; 1 to 64 GiB. A file that comes twice counts twice.
    /// <value>Default 64 MiB.</value>
    /// </summary>
    public long MaxBytes { get; set; } = 64 << 20;

    /// <summary>
    /// The most entries of all inputs together, and the most that come back; 1 to 100,000. They may be nested 64 deep. Their paths and the targets of
    /// links together may have 256 characters for each entry allowed here, but at least 1,048,576.
    /// <value>Default 10,000.</value>
    /// </summary>
    public int MaxEntries { get; set; } = 10_000;

    /// <summary>
    /// The most bytes of <see cref="SandboxResult.WorkspaceChanges"/>; 0 to 1 GiB, and at most <see cref="ResourceLimits.OutputFilesBytes"/>. They are in
    /// memory.
    /// <value>Default 0: nothing comes back.</value>
    /// </summary>
    public long MaxChangesBytes { get; set; }

    /// <summary>Returns the path and the number of inputs.</summary>
    public override string ToString() => $"{UntrustedText.Show(Path)} with {Inputs.Count} inputs";
}
