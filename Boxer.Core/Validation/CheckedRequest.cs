using Boxer.Common;
using Boxer.Images;
using Boxer.Networking;

namespace Boxer.Validation;

/// <summary>The part of a validated request that describes the sandbox: the same for a run and for a session.</summary>
internal abstract record CheckedSandbox
{
    /// <summary>The image.</summary>
    internal required ImageReference Image { get; init; }

    /// <summary>When the image is pulled, by the request and the options together.</summary>
    internal required PullPolicy PullPolicy { get; init; }

    /// <summary>The network mode.</summary>
    internal required INetworkMode Network { get; init; }

    /// <summary>Destinations that the run may reach, by the request and the options together.</summary>
    internal required NetworkPolicy Egress { get; init; }

    /// <summary>Environment variables in addition to those of the image.</summary>
    internal IReadOnlyDictionary<string, string> Environment { get; init; } = new Dictionary<string, string>();

    /// <summary>The directory to start in, without <c>.</c> and doubled slashes; <see langword="null"/> for the workspace, else the image's.</summary>
    internal CleanPath? WorkingDirectory { get; init; }

    /// <summary>The user of the command; <see langword="null"/> for the image's.</summary>
    internal UserName? User { get; init; }

    /// <summary>All limits; only <see cref="ResourceLimits.CpuTime"/> may be <see langword="null"/>.</summary>
    internal required ResourceLimits Limits { get; init; }

    /// <summary>The key for fair queueing.</summary>
    internal string? FairnessKey { get; init; }

    /// <summary>Input files. Their paths are clean and distinct, and none is in a reserved directory or in the workspace.</summary>
    internal IReadOnlyList<SandboxFile> Files { get; init; } = [];

    /// <summary>The workspace, or <see langword="null"/>.</summary>
    internal CheckedWorkspace? Workspace { get; init; }
}

/// <summary>A validated request with everything parsed once and defaults filled in. Later steps do not read the <see cref="SandboxRequest"/> again.</summary>
internal sealed record CheckedRequest : CheckedSandbox
{
    /// <summary>Program and arguments; may be empty where <see cref="UseImageCommand"/> is set.</summary>
    internal required IReadOnlyList<string> Command { get; init; }

    /// <summary>Whether the image's own command comes before <see cref="Command"/>, or replaces an empty one.</summary>
    internal bool UseImageCommand { get; init; }

    /// <summary>Standard input.</summary>
    internal ReadOnlyMemory<byte> StandardInput { get; init; }

    /// <summary>Stream that is copied to standard input while the command runs, or <see langword="null"/>.</summary>
    internal Stream? StandardInputStream { get; init; }

    /// <summary>Whether standard error goes into standard output.</summary>
    internal bool MergeStandardError { get; init; }

    /// <summary>Terminal of the command; <see langword="null"/>: none.</summary>
    internal SandboxTerminal? Terminal { get; init; }

    /// <summary>Whether the result contains standard output and error.</summary>
    internal bool KeepStandardOutput { get; init; } = true;

    /// <summary>Time that the command gets to stop before it is killed.</summary>
    internal TimeSpan StopGrace { get; init; }

    /// <summary>Destination of the files under /output.</summary>
    internal OutputFilePolicy OutputFiles { get; init; } = OutputFilePolicy.InMemory;
}

/// <summary>A validated workspace.</summary>
/// <param name="Path">The directory: clean, not the root, and not in a reserved one.</param>
/// <param name="Inputs">Inputs, in order. Paths of listed files are clean.</param>
/// <param name="MaxBytes">Maximum number of bytes of the files of all inputs.</param>
/// <param name="MaxEntries">Maximum number of entries of all inputs, and of the changes.</param>
/// <param name="MaxChangesBytes">Maximum number of bytes of the returned changes; 0 for none.</param>
internal sealed record CheckedWorkspace(CleanPath Path, IReadOnlyList<SandboxInput> Inputs, long MaxBytes, int MaxEntries, long MaxChangesBytes);
