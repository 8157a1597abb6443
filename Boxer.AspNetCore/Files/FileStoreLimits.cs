namespace Boxer.AspNetCore.Files;

/// <summary>Limits of one <see cref="FileSpace"/>: uploads, kept outputs and uploads that are still arriving, together.</summary>
internal sealed record FileStoreLimits
{
    /// <summary>
    /// Maximum bytes of one space; 0 or more.
    /// <value>Default 4 GiB.</value>
    /// </summary>
    public long MaxBytes { get; init; } = 4L << 30;

    /// <summary>
    /// Maximum number of files and directories of one space; 0 or more.
    /// <value>Default 100,000.</value>
    /// </summary>
    public int MaxFiles { get; init; } = 100_000;
}
