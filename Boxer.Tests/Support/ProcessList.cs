using System.Globalization;

namespace Boxer.Tests.Support;

/// <summary>The processes of this host (proc_pid_cmdline(5)).</summary>
internal static class ProcessList
{
    /// <summary>Each with its arguments, which NUL ends; one that became a zombie has none.</summary>
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
                    // It ended meanwhile.
                }
            }
        }

        return found;
    }
}
