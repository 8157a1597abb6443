using Boxer;

namespace Judge;

/// <summary>Verdicts, by how a run ended and what it printed.</summary>
internal static class Verdicts
{
    public const string Accepted = "AC";

    /// <summary>The submission could not be judged, by no fault of its own: judge it again.</summary>
    public const string InternalError = "IE";

    /// <summary>Gives the verdict of one run.</summary>
    /// <param name="result">The run.</param>
    /// <param name="expected">What it should have printed.</param>
    public static string Of(SandboxResult result, string expected) => result.Termination.Kind switch
    {
        TerminationKind.CpuTimeLimit or TerminationKind.WallClockLimit => "TLE",
        TerminationKind.MemoryLimit => "MLE",
        TerminationKind.Exited when result.ExitCode == 0 => Compare(result.StandardOutput, expected),
        TerminationKind.SandboxDied => InternalError,
        _ => "RE",
    };

    // Spaces at the ends of lines, and empty lines at the end, do not count. Other spaces are the difference between WA and PLE.
    private static string Compare(string printed, string expected) =>
        Lines(printed).SequenceEqual(Lines(expected)) ? Accepted
        : Words(printed).SequenceEqual(Words(expected)) ? "PLE"
        : "WA";

    private static string[] Lines(string text) => [.. text.TrimEnd().Split('\n').Select(line => line.TrimEnd())];

    private static string[] Words(string text) => text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
}
