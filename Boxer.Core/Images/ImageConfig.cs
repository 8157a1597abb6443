namespace Boxer.Images;

/// <summary>
/// What an image says about the processes it is made for (OCI image spec, config.md). Untrusted. Labels, volumes and ports are
/// left out on purpose: nothing of them reaches a sandbox.
/// </summary>
public sealed record ImageConfig
{
    /// <summary>Variables as <c>NAME=value</c>.</summary>
    public IReadOnlyList<string> Env { get; init; } = [];

    /// <summary>The absolute directory that commands start in; empty where the image names none.</summary>
    public string WorkingDir { get; init; } = "";

    /// <summary>The user that commands run as; empty where the image names none.</summary>
    public string User { get; init; } = "";
}
