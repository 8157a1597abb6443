namespace WebTerminal;

/// <summary>Messages of the log.</summary>
internal static partial class Log
{
    [LoggerMessage(1, LogLevel.Warning, "The page has no terminal emulator. Run npm install in Boxer.Samples/WebTerminal and build again.")]
    internal static partial void NoEmulator(ILogger logger);

    [LoggerMessage(2, LogLevel.Information, "Shell {Process} of session {Session} is shown.")]
    internal static partial void Shown(ILogger logger, int process, string session);

    [LoggerMessage(3, LogLevel.Warning, "A terminal could not be opened.")]
    internal static partial void Failed(ILogger logger, Exception exception);
}
