using System.Globalization;
using System.Text;
using Boxer.Native;

namespace Boxer.Linux;

/// <summary>The processes of this host (proc(5)).</summary>
internal static class ProcessTable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(10);

    /// <summary>
    /// Ends every process that has a path in or below <paramref name="directory"/> in an argument of its command line, as every process
    /// of the runtime has: also those that they start meanwhile.
    /// </summary>
    /// <exception cref="IOException">Some do not end.</exception>
    internal static async Task EndByArgumentAsync(string directory, TimeProvider time)
    {
        long start = time.GetTimestamp();
        while (KillByArgument(directory))
        {
            if (time.GetElapsedTime(start) > Patience)
            {
                throw new IOException($"Processes of {directory} run {Patience.TotalSeconds:0} s after they were killed.");
            }

            await Task.Delay(Pause, time).ConfigureAwait(false);
        }
    }

    /// <summary>Lists a process and those that it started, directly or not.</summary>
    internal static IReadOnlyList<int> ReadTree(int root)
    {
        ILookup<int, int> children = ReadIds().Select(id => (Id: id, Parent: ReadParent(id))).ToLookup(process => process.Parent, process => process.Id);
        List<int> tree = [root];
        for (int i = 0; i < tree.Count; i++)
        {
            tree.AddRange(children[tree[i]]);
        }

        return tree;
    }

    private static IEnumerable<int> ReadIds()
    {
        foreach (string entry in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(entry), NumberStyles.None, CultureInfo.InvariantCulture, out int id))
            {
                yield return id;
            }
        }
    }

    // "pid (comm) state ppid ...", where comm may hold anything (proc_pid_stat(5)).
    private static int ReadParent(int id)
    {
        try
        {
            string stat = File.ReadAllText($"/proc/{id}/stat");
            return int.Parse(stat[(stat.LastIndexOf(')') + 4)..].Split(' ', 2)[0], CultureInfo.InvariantCulture);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return 0;
        }
    }

    private static bool KillByArgument(string directory)
    {
        bool found = false;
        foreach (string entry in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(entry), NumberStyles.None, CultureInfo.InvariantCulture, out int pid)
                && pid != Environment.ProcessId
                && ReadCommandLine(entry) is { } commandLine
                && IsRuntime(commandLine, directory))
            {
                found = true;
                _ = Signal.kill(pid, Signal.SIGKILL);
            }
        }

        return found;
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
