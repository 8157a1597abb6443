using System.Globalization;
using Boxer.Common;
using Boxer.Native;

namespace Boxer.Linux;

/// <summary>The processes of this host (proc(5)).</summary>
internal static class ProcessTable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(10);

    /// <summary>
    /// Ends the runtime's processes of a directory: those that this user runs, whose executable is one of <paramref name="programs"/>, and that
    /// have <c>--root=</c> with a path below <paramref name="directory"/> among their arguments. Also ends those that they start meanwhile.
    /// Anybody can run a program with such arguments: processes of other users and other programs are neither killed nor waited for.
    /// </summary>
    /// <param name="directory">The directory.</param>
    /// <param name="programs">The executables of the runtime.</param>
    /// <param name="time">Paces the look-ups.</param>
    /// <exception cref="IOException">Some do not end.</exception>
    internal static async Task EndRuntimeAsync(string directory, IReadOnlySet<FileIdentity> programs, TimeProvider time)
    {
        long start = time.GetTimestamp();
        while (KillRuntime(directory, programs))
        {
            if (time.GetElapsedTime(start) > Patience)
            {
                throw new IOException($"Processes of {directory} run {Patience.TotalSeconds:0} s after they were killed.");
            }

            await Task.Delay(Pause, time).ConfigureAwait(false);
        }
    }

    /// <summary>The path that leads to the executable of a process.</summary>
    internal static string ExecutablePath(int process) => string.Create(CultureInfo.InvariantCulture, $"/proc/{process}/exe");

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

    // A process that vanished meanwhile cannot be read or signalled, and does not count. The arguments of others are not even read: they
    // can be as long as those others want.
    private static bool KillRuntime(string directory, IReadOnlySet<FileIdentity> programs)
    {
        bool found = false;
        foreach (int pid in ReadIds())
        {
            if (pid != Environment.ProcessId
                && Read($"/proc/{pid}/status") is { } status
                && IsOwn(status)
                && FileIdentity.Of(ExecutablePath(pid)) is { } executable
                && programs.Contains(executable)
                && Read($"/proc/{pid}/cmdline") is { } commandLine
                && NamesDirectory(commandLine, directory))
            {
                found |= Signal.kill(pid, Signal.SIGKILL) == 0;
            }
        }

        return found;
    }

    private static bool NamesDirectory(string commandLine, string directory) =>
        commandLine.Split('\0').Any(argument => argument.StartsWith("--root=" + directory + "/", StringComparison.Ordinal));

    // The real user and the effective one: a program that is set-user-ID to this user was started by another. The owner of the directory in
    // /proc does not say it, because that is root for a process that keeps debuggers out.
    private static bool IsOwn(string status)
    {
        const string Field = "Uid:";
        string own = Unistd.geteuid().ToString(CultureInfo.InvariantCulture);
        string? line = status.Split('\n').FirstOrDefault(line => line.StartsWith(Field, StringComparison.Ordinal));
        return line?[Field.Length..].Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries) is [var real, var effective, ..] && real == own && effective == own;
    }

    private static string? Read(string file)
    {
        try
        {
            return UntrustedText.Decode(File.ReadAllBytes(file));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
