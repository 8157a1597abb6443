namespace Boxer.Images;

/// <summary>
/// Settings of an image for its processes (OCI image spec, config.md). Untrusted. Labels, volumes and ports are omitted on purpose, because they
/// have no effect in a sandbox.
/// </summary>
public sealed record ImageConfig
{
    /// <summary>Environment variables as <c>NAME=value</c>.</summary>
    public IReadOnlyList<string> Env { get; init; } = [];

    /// <summary>Working directory of commands, an absolute path; empty if the image names none.</summary>
    public string WorkingDir { get; init; } = "";

    /// <summary>User that commands run as; empty if the image names none.</summary>
    public string User { get; init; } = "";

    /// <summary>First part of the image's own command; empty if the image has none.</summary>
    public IReadOnlyList<string> Entrypoint { get; init; } = [];

    /// <summary>Arguments of <see cref="Entrypoint"/>, or the whole command if that is empty. Arguments of a caller replace it.</summary>
    public IReadOnlyList<string> Cmd { get; init; } = [];

    /// <summary>Signal that asks the image's own command to end, such as <c>SIGTERM</c>; empty if the image names none.</summary>
    public string StopSignal { get; init; } = "";
}
