using Boxer.Networking;

namespace Boxer;

/// <summary>The part of a request that describes the sandbox: the same for a run and for a session.</summary>
internal interface ISandboxDescription
{
    /// <summary>The image reference.</summary>
    string Image { get; }

    /// <summary>When the image is pulled; <see langword="null"/> for the default.</summary>
    Images.PullPolicy? PullPolicy { get; }

    /// <summary>Name of the network mode.</summary>
    string Network { get; }

    /// <summary>Destinations that the sandbox may reach; <see langword="null"/> for the default.</summary>
    EgressPolicy? Egress { get; }

    /// <summary>Environment variables.</summary>
    IDictionary<string, string> Environment { get; }

    /// <summary>The directory that commands start in; <see langword="null"/> for the default.</summary>
    string? WorkingDirectory { get; }

    /// <summary>The user of the commands; <see langword="null"/> for the default.</summary>
    string? User { get; }

    /// <summary>The limits.</summary>
    ResourceLimits Limits { get; }

    /// <summary>The key for fair queueing.</summary>
    string? FairnessKey { get; }

    /// <summary>Input files.</summary>
    IList<SandboxFile> Files { get; }

    /// <summary>The workspace; <see langword="null"/>: none.</summary>
    SandboxWorkspace? Workspace { get; }
}
