using Microsoft.Extensions.Logging;

namespace Boxer.Hosting;

/// <summary>Log messages of start-up. Event ids never change.</summary>
internal static partial class HostingLog
{
    [LoggerMessage(1100, LogLevel.Warning, "The {Count} runners of this application may use {Sum} MiB of memory together, but this machine has {Most} MiB for sandboxes. Lower MaxMemoryBytes of each.")]
    public static partial void MemoryOvercommitted(ILogger logger, int count, long sum, long most);

    [LoggerMessage(1101, LogLevel.Warning, "Options of the runner '{Runner}' changed: {Options}. They are read once; restart the application to apply them.")]
    public static partial void OptionsChanged(ILogger logger, string runner, string options);

    [LoggerMessage(1102, LogLevel.Warning, "Options of the runner '{Runner}' changed and are invalid now: the next start of the application would fail. {Faults}")]
    public static partial void ChangedOptionsWrong(ILogger logger, string runner, string faults);
}
