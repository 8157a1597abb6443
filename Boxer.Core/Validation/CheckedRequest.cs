using Boxer.Common;
using Boxer.Images;
using Boxer.Networking;

namespace Boxer.Validation;

/// <summary>
/// A request after validation: everything in it was parsed once, and what it left out is filled in. Nothing after the validator reads the
/// <see cref="SandboxRequest"/> again.
/// </summary>
internal sealed record CheckedRequest
{
    /// <summary>The image.</summary>
    internal required ImageReference Image { get; init; }

    /// <summary>When the registry is asked for it, by the request and the options together.</summary>
    internal required PullPolicy PullPolicy { get; init; }

    /// <summary>The network mode.</summary>
    internal required INetworkMode Network { get; init; }

    /// <summary>Destinations that the run may reach, by the request and the options together.</summary>
    internal required NetworkPolicy Egress { get; init; }

    /// <summary>Program and arguments; may be empty where <see cref="UseImageCommand"/> is set.</summary>
    internal required IReadOnlyList<string> Command { get; init; }

    /// <summary>Whether the image's own command comes before <see cref="Command"/>, or stands in for an empty one.</summary>
    internal bool UseImageCommand { get; init; }

    /// <summary>Variables beside those of the image.</summary>
    internal IReadOnlyDictionary<string, string> Environment { get; init; } = new Dictionary<string, string>();

    /// <summary>The directory to start in, without <c>.</c> and doubled slashes; <see langword="null"/>: the workspace, else the image's.</summary>
    internal CleanPath? WorkingDirectory { get; init; }

    /// <summary>The user of the command; <see langword="null"/>: the image's.</summary>
    internal UserName? User { get; init; }

    /// <summary>All limits; only <see cref="ResourceLimits.CpuTime"/> may be <see langword="null"/>.</summary>
    internal required ResourceLimits Limits { get; init; }

    /// <summary>The key by which runs are queued in turn.</summary>
    internal string? FairnessKey { get; init; }

    /// <summary>Files to put in. Their paths are clean, each is there once, and none is in a reserved directory or in the workspace.</summary>
    internal IReadOnlyList<SandboxFile> Files { get; init; } = [];

    /// <summary>The workspace, or <see langword="null"/>.</summary>
    internal CheckedWorkspace? Workspace { get; init; }

    /// <summary>Standard input.</summary>
    internal ReadOnlyMemory<byte> StandardInput { get; init; }

    /// <summary>Standard input that comes while the command runs, or <see langword="null"/>.</summary>
    internal Stream? StandardInputStream { get; init; }

    /// <summary>Whether standard error goes where standard output goes.</summary>
    internal bool MergeStandardError { get; init; }

    /// <summary>Whether standard output and error are kept for the result.</summary>
    internal bool KeepStandardOutput { get; init; } = true;

    /// <summary>Time that a command has to end after it was asked to.</summary>
    internal TimeSpan StopGrace { get; init; }

    /// <summary>Treatment of the files under /output.</summary>
    internal OutputFilePolicy OutputFiles { get; init; } = OutputFilePolicy.InMemory;
}

/// <summary>A workspace after validation.</summary>
/// <param name="Path">The directory: clean, not the root, and not in a reserved one.</param>
/// <param name="Inputs">Inputs, in order. Paths of listed files are clean.</param>
/// <param name="MaxBytes">Most bytes of the files of all inputs.</param>
/// <param name="MaxEntries">Most entries of all inputs, and of the changes.</param>
/// <param name="MaxChangesBytes">Most bytes of the changes that come back; 0: nothing comes back.</param>
internal sealed record CheckedWorkspace(CleanPath Path, IReadOnlyList<SandboxInput> Inputs, long MaxBytes, int MaxEntries, long MaxChangesBytes);
