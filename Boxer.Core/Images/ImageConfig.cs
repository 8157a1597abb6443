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

    /// <summary>What the image's own command begins with; empty where the image has none.</summary>
    public IReadOnlyList<string> Entrypoint { get; init; } = [];

    /// <summary>The arguments of <see cref="Entrypoint"/>, or the command where that is empty; what a caller gives stands in its place.</summary>
    public IReadOnlyList<string> Cmd { get; init; } = [];

    /// <summary>The signal that asks the image's own command to end, such as <c>SIGTERM</c>; empty where the image names none.</summary>
    public string StopSignal { get; init; } = "";
}
