using System.Globalization;

namespace Boxer.Common;

/// <summary>Names and numbers of signals, and the signal that asks a command to end.</summary>
internal static class StopSignal
{
    private const int Terminate = 15;
    private const int MostSignals = 64;
    private const int FirstRealTime = 34;

    // signal(7), x86-64 and ARM: the index of a name is its number.
    private static readonly string[] Names =
    [
        "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP",
        "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];

    /// <summary>Parses a signal of an image's configuration.</summary>
    /// <param name="text">Untrusted text.</param>
    /// <returns>Number of the signal, 1 to 64; SIGTERM if the text is not a signal.</returns>
    internal static int Parse(string text) => Find(text) ?? Terminate;

    /// <summary>Finds a signal by its name or number, such as <c>SIGQUIT</c>, <c>3</c> or <c>SIGRTMIN+3</c>.</summary>
    /// <param name="text">Untrusted text.</param>
    /// <returns>Number of the signal, 1 to 64; <see langword="null"/> if the text is not a signal.</returns>
    internal static int? Find(string text)
    {
        string name = text.StartsWith("SIG", StringComparison.OrdinalIgnoreCase) ? text[3..] : text;
        int number = Array.FindIndex(Names, 1, known => known.Equals(name, StringComparison.OrdinalIgnoreCase));
        if (number < 0)
        {
            number = IsNumber(name, out int given) ? given
                : name.Equals("RTMIN", StringComparison.OrdinalIgnoreCase) ? FirstRealTime
                : name.Equals("RTMAX", StringComparison.OrdinalIgnoreCase) ? MostSignals
                : name.StartsWith("RTMIN+", StringComparison.OrdinalIgnoreCase) && IsNumber(name[6..], out int above) ? FirstRealTime + above
                : name.StartsWith("RTMAX-", StringComparison.OrdinalIgnoreCase) && IsNumber(name[6..], out int below) ? MostSignals - below
                : 0;
        }

        return number is > 0 and <= MostSignals ? number : null;
    }

    private static bool IsNumber(string text, out int number) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number) && number <= MostSignals;
}
