using System.Globalization;
using System.Text;
using Boxer.Native;

namespace Boxer.Linux;

/// <summary>The processes of this host (proc(5)).</summary>
internal static class ProcessTable
{
    /// <summary>
    /// Kills every process that has a path in or below <paramref name="directory"/> in an argument of its command line, as every process
    /// of the runtime has.
    /// </summary>
    internal static void KillByArgument(string directory)
    {
        foreach (string entry in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(entry), NumberStyles.None, CultureInfo.InvariantCulture, out int pid)
                && pid != Environment.ProcessId
                && ReadCommandLine(entry) is { } commandLine
                && IsRuntime(commandLine, directory))
            {
                _ = Signal.kill(pid, Signal.SIGKILL);
            }
        }
    }

    private static bool IsRuntime(string commandLine, string directory) =>
        commandLine.Split('\0').Any(argument => argument.StartsWith("--root=" + directory + "/", StringComparison.Ordinal));

    private static string? ReadCommandLine(string entry)
    {
        try
        {
            return Encoding.UTF8.GetString(File.ReadAllBytes(entry + "/cmdline"));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
