using Boxer;

namespace Judge;

/// <summary>Maps the end and the output of a run to a verdict.</summary>
internal static class Verdicts
{
    public const string Accepted = "AC";

    /// <summary>The submission could not be judged because of an internal failure; judge it again.</summary>
    public const string InternalError = "IE";

    /// <summary>Gets the verdict on one run.</summary>
    /// <param name="result">The result of the run.</param>
    /// <param name="expected">The expected output.</param>
    public static string Of(SandboxResult result, string expected) => result.Termination.Kind switch
    {
        TerminationKind.CpuTimeLimit or TerminationKind.WallClockLimit => "TLE",
        TerminationKind.MemoryLimit => "MLE",
        TerminationKind.Exited when result.ExitCode == 0 => Compare(result.StandardOutput, expected),
        TerminationKind.SandboxDied => InternalError,
        _ => "RE",
    };

    // Spaces at the ends of lines and empty lines at the end are ignored. An output that differs only in other spaces is PLE, not WA.
    private static string Compare(string printed, string expected) =>
        Lines(printed).SequenceEqual(Lines(expected)) ? Accepted
        : Words(printed).SequenceEqual(Words(expected)) ? "PLE"
        : "WA";

    private static string[] Lines(string text) => [.. text.TrimEnd().Split('\n').Select(line => line.TrimEnd())];

    private static string[] Words(string text) => text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
}
