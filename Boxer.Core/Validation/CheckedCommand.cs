using Boxer.Common;

namespace Boxer.Validation;

/// <summary>A validated command of a session. Later steps do not read the <see cref="SandboxCommand"/> again.</summary>
internal sealed record CheckedCommand
{
    /// <summary>Program and arguments.</summary>
    internal required IReadOnlyList<string> Command { get; init; }

    /// <summary>Environment variables in addition to those of the session.</summary>
    internal IReadOnlyDictionary<string, string> Environment { get; init; } = new Dictionary<string, string>();

    /// <summary>The directory to start in; the session's unless the command has one.</summary>
    internal required CleanPath WorkingDirectory { get; init; }

    /// <summary>The user; <see langword="null"/> for the session's.</summary>
    internal UserName? User { get; init; }

    /// <summary>
    /// The limits of the command, with those of the session filled in. <see cref="ResourceLimits.CpuTime"/> may be <see langword="null"/>, and so may
    /// <see cref="ResourceLimits.WallClock"/> of a process.
    /// </summary>
    internal required ResourceLimits Limits { get; init; }

    /// <summary>Standard input of a foreground command.</summary>
    internal ReadOnlyMemory<byte> StandardInput { get; init; }

    /// <summary>Stream that is copied to standard input while a foreground command runs, or <see langword="null"/>.</summary>
    internal Stream? StandardInputStream { get; init; }

    /// <summary>Whether standard error goes into standard output.</summary>
    internal bool MergeStandardError { get; init; }

    /// <summary>Whether the result of a foreground command contains standard output and error.</summary>
    internal bool KeepStandardOutput { get; init; } = true;

    /// <summary>Time that a foreground command gets to stop before it is killed.</summary>
    internal TimeSpan StopGrace { get; init; }

    /// <summary>Terminal of a process; <see langword="null"/>: pipes.</summary>
    internal SandboxTerminal? Terminal { get; init; }
}
