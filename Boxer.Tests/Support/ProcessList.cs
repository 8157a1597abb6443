using System.Globalization;

namespace Boxer.Tests.Support;

/// <summary>Reads the processes of this host (proc_pid_cmdline(5)).</summary>
internal static class ProcessList
{
    /// <summary>Reads all processes with their arguments, each terminated by NUL. A zombie has none.</summary>
    public static List<(int Id, string CommandLine)> Read()
    {
        List<(int Id, string CommandLine)> found = [];
        foreach (string entry in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(entry), NumberStyles.None, CultureInfo.InvariantCulture, out int id))
            {
                try
                {
                    found.Add((id, File.ReadAllText(entry + "/cmdline")));
                }
                catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
                {
                    // The process ended meanwhile.
                }
            }
        }

        return found;
    }
}
