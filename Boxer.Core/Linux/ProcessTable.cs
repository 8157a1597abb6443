using System.Globalization;
using Boxer.Common;
using Boxer.Native;

namespace Boxer.Linux;

/// <summary>Finds and ends processes of this host (proc(5)).</summary>
internal static class ProcessTable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(10);

    // Counted from the state, which is field 3 of the manual.
    private const int ParentField = 1;
    private const int StartTimeField = 19;

    /// <summary>
    /// Ends the processes of the runtime for a directory: those of this user whose executable is one of <paramref name="programs"/> and that have
    /// an argument <c>--root=</c> with a path below <paramref name="directory"/>. Repeats until no such process is left, because they can start others.
    /// Any user can start a program with such an argument, so processes of other users and of other programs are ignored.
    /// </summary>
    /// <param name="directory">Directory of the runtime.</param>
    /// <param name="programs">Executables of the runtime.</param>
    /// <param name="time">Clock of the pauses between searches.</param>
    /// <exception cref="IOException">Processes still run 10 s after they were killed.</exception>
    internal static async Task EndRuntimeAsync(string directory, IReadOnlySet<FileIdentity> programs, TimeProvider time)
    {
        long start = time.GetTimestamp();
        while (KillRuntime(directory, programs))
        {
            if (time.GetElapsedTime(start) > Patience)
            {
                throw new IOException($"Processes of {directory} still run {Patience.TotalSeconds:0} s after they were killed.");
            }

            await Task.Delay(Pause, time).ConfigureAwait(false);
        }
    }

    /// <summary>Gets the path in /proc of the executable of a process.</summary>
    internal static string ExecutablePath(int process) => string.Create(CultureInfo.InvariantCulture, $"/proc/{process}/exe");

    /// <summary>
    /// Reads when a process started, in clock ticks since the boot of this machine: with its id, it tells a process from a later one with the same id.
    /// </summary>
    /// <param name="process">The process.</param>
    /// <returns><see langword="null"/> if there is no such process.</returns>
    /// <exception cref="IOException">It cannot be read, for example because this process has no free descriptors.</exception>
    internal static ulong? ReadStartTime(int process)
    {
        try
        {
            return ulong.Parse(ReadFields(process)[StartTimeField], CultureInfo.InvariantCulture);
        }
        catch (IOException exception) when (exception is FileNotFoundException or DirectoryNotFoundException || exception.HResult == Errno.ESRCH)
        {
            return null;
        }
    }

    /// <summary>Lists a process and its descendants.</summary>
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

    private static int ReadParent(int id)
    {
        try
        {
            return int.Parse(ReadFields(id)[ParentField], CultureInfo.InvariantCulture);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return 0;
        }
    }

    // "pid (comm) state ppid ...", where comm can contain any character (proc_pid_stat(5)). Returns the fields from the state on.
    private static string[] ReadFields(int id)
    {
        string stat = File.ReadAllText($"/proc/{id}/stat");
        return stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
    }

    // A process that ended meanwhile cannot be read or signalled, and does not count. The arguments of other users' processes are not read: they
    // can have any length.
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

    // Compares the real and the effective user: another user can start a program that is set-user-ID to this one. The owner of the directory in
    // /proc is no proof, because it is root for a process that is not dumpable.
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
