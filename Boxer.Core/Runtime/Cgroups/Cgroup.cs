using System.Globalization;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime.Cgroups;

/// <summary>Limits of a cgroup.</summary>
/// <param name="CpuCores">Processor time, in cores.</param>
/// <param name="MemoryBytes">Memory in bytes, swap included.</param>
/// <param name="HostPids">Host processes and threads. The sandbox's kernel has some for each process and thread of the command.</param>
internal sealed record CgroupLimits(double CpuCores, long MemoryBytes, int HostPids);

/// <summary>Kills by the kernel's out-of-memory killer in a cgroup.</summary>
internal enum OutOfMemory
{
    /// <summary>No kill.</summary>
    None,

    /// <summary>A kill because the cgroup reached its own limit.</summary>
    OwnLimit,

    /// <summary>A kill because a cgroup above this one, or the machine, was out of memory.</summary>
    Host,
}

/// <summary>Cgroup of one sandbox. Disposing kills its processes and removes it.</summary>
internal abstract class Cgroup : IAsyncDisposable
{
    /// <summary>Weight of processor time of a sandbox whose command runs: the kernel's default.</summary>
    internal const int CommandWeight = 100;

    /// <summary>Weight of processor time of a sandbox that boots or waits. It is lower, so that such a sandbox does not delay running commands.</summary>
    internal const int WaitingWeight = 25;

    /// <summary>Period after which the kernel renews the quota of processor time, in microseconds.</summary>
    internal const int PeriodMicroseconds = 100_000;

    private const string PidsLimitFile = "pids.max";
    private const string PidsEventsFile = "pids.events";

    private static readonly TimeSpan RemovalPatience = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan RemovalPause = TimeSpan.FromMilliseconds(5);
    private static readonly TimeSpan LongRemovalPause = TimeSpan.FromMilliseconds(100);
    private readonly TimeProvider _time;

    private readonly string _pids;

    private protected Cgroup(IReadOnlyList<string> directories, string pids, TimeProvider time)
    {
        Directories = directories;
        _pids = pids;
        _time = time;
    }

    /// <summary>Directories of the cgroup, one for each hierarchy.</summary>
    internal IReadOnlyList<string> Directories { get; }

    /// <summary>Files to which a process writes its id to join the cgroup.</summary>
    internal IEnumerable<string> ProcsFiles => Directories.Select(directory => Path.Join(directory, "cgroup.procs"));

    /// <summary>Sets all limits.</summary>
    /// <exception cref="InvalidSandboxRequestException">The sandbox already uses more memory than the limit.</exception>
    internal abstract void Apply(CgroupLimits limits);

    /// <summary>Sets only the limit of processor time.</summary>
    internal abstract void SetCpu(double cores);

    /// <summary>Sets the share of processor time when other cgroups compete for it.</summary>
    /// <param name="weight">Weight, 1 to 10,000; the kernel's default is 100.</param>
    internal abstract void SetCpuWeight(int weight);

    /// <summary>Reads whether the out-of-memory killer killed a process in the cgroup, and whose limit was reached.</summary>
    internal abstract OutOfMemory ReadOutOfMemory();

    /// <summary>
    /// Reads the processor time, user and system, of all processes that were ever in the cgroup; <see langword="null"/> if the kernel does not
    /// report it.
    /// </summary>
    internal abstract TimeSpan? ReadCpu();

    /// <summary>
    /// Reads the memory in use in bytes, without the page cache of files: anonymous and shared memory (tmpfs, memfd); <see langword="null"/> if the
    /// kernel does not report it.
    /// </summary>
    internal abstract long? ReadMemory();

    /// <summary>
    /// Reads the highest memory charge so far in bytes, with page cache, which the kernel compares with the limit; <see langword="null"/> if the kernel
    /// does not report it.
    /// </summary>
    internal abstract long? ReadPeakCharge();

    /// <summary>Reads the number of forks that failed because of a limit of pids; <see langword="null"/> if the kernel does not count them.</summary>
    internal long? ReadRefusedForks() => File.Exists(Path.Join(_pids, PidsEventsFile)) ? ReadKey(_pids, PidsEventsFile, "max"u8) : null;

    /// <summary>
    /// Whether the cgroup has, or had, as many pids as its limit. Otherwise the limit of a cgroup above refused forks. Older kernels do not record
    /// the peak; then the result is true while at least three quarters of the limit are in use.
    /// </summary>
    internal bool IsAtPidsLimit()
    {
        long? limit = ReadNumber(_pids, PidsLimitFile);
        return ReadNumber(_pids, "pids.peak") is { } peak ? !(peak < limit) : !(ReadNumber(_pids, "pids.current") < limit * 3 / 4);
    }

    /// <summary>Opens a descriptor that becomes ready when the result of <see cref="ReadOutOfMemory"/> may have changed.</summary>
    /// <returns>The descriptor, and the epoll events to wait for.</returns>
    internal abstract (SafeFileHandle Descriptor, uint Events) OpenOutOfMemoryEvents();

    /// <summary>Resets the descriptor of <see cref="OpenOutOfMemoryEvents"/> to wait for the next change.</summary>
    internal abstract void AcknowledgeOutOfMemory(SafeFileHandle descriptor);

    /// <summary>Whether <see cref="Freeze"/> stops the processes. A host without a freezer leaves them running.</summary>
    internal abstract bool CanFreeze { get; }

    /// <summary>Freezes the processes in the cgroup, if the host has a freezer. The last of them may stop a moment later.</summary>
    /// <exception cref="IOException">They run on.</exception>
    internal abstract void Freeze();

    /// <summary>
    /// Begins to freeze the processes in the cgroup, or looks whether they all stand still. Repeat it until they do, or call <see cref="Thaw"/>. Only if
    /// <see cref="CanFreeze"/>.
    /// </summary>
    /// <returns>Whether all processes stand still.</returns>
    internal abstract bool TryFreeze();

    /// <summary>Thaws the processes in the cgroup.</summary>
    internal abstract void Thaw();

    /// <summary>Lists the processes in the cgroup.</summary>
    internal IReadOnlyList<int> ReadProcesses() => ReadProcesses(ProcsFiles.First());

    /// <summary>Sends SIGKILL to each process in the cgroup once. Processes that fork meanwhile need another call.</summary>
    /// <returns>Whether the cgroup had processes.</returns>
    internal virtual bool Kill()
    {
        bool found = false;
        foreach (string file in ProcsFiles)
        {
            foreach (int pid in ReadProcesses(file))
            {
                found = true;
                _ = Signal.kill(pid, Signal.SIGKILL);
            }
        }

        return found;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync() => await RemoveAsync(Directories, () => Kill(), _time).ConfigureAwait(false);

    /// <summary>Kills the processes in the directories and removes the directories.</summary>
    /// <param name="directories">Directories of cgroups.</param>
    /// <param name="kill">Kills their processes.</param>
    /// <param name="time">Clock of the pauses between attempts.</param>
    /// <exception cref="IOException">A directory still has processes 10 s after they were killed.</exception>
    internal static async Task RemoveAsync(IReadOnlyList<string> directories, Action kill, TimeProvider time)
    {
        long start = time.GetTimestamp();
        while (true)
        {
            kill();
            string? left = directories.FirstOrDefault(directory => !TryRemove(directory));
            if (left is null)
            {
                return;
            }

            TimeSpan elapsed = time.GetElapsedTime(start);
            if (elapsed > RemovalPatience)
            {
                throw new IOException($"The cgroup {left} still has processes {RemovalPatience.TotalSeconds:0} s after they were killed.");
            }

            // Most cgroups are empty at once.
            await Task.Delay(elapsed < RemovalPatience / 10 ? RemovalPause : LongRemovalPause, time).ConfigureAwait(false);
        }
    }

    /// <summary>Reads a file <c>cgroup.procs</c>.</summary>
    /// <returns>Process ids; none if the file cannot be read.</returns>
    internal static IReadOnlyList<int> ReadProcesses(string procsFile)
    {
        try
        {
            // This class parses bytes, not text, because a clean-up reads these files every few milliseconds.
            List<int> found = [];
            ReadOnlySpan<byte> content = File.ReadAllBytes(procsFile);
            foreach (Range line in content.Split((byte)'\n'))
            {
                // Processes of another PID namespace are 0. The text after the last line is empty.
                if (content[line] is { Length: > 0 } number && int.Parse(number, CultureInfo.InvariantCulture) is > 0 and int pid)
                {
                    found.Add(pid);
                }
            }

            return found;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    // Tasks that runsc keeps after a warm-up do not count against the run.
    private protected void SetPids(int limit)
    {
        long kept = Math.Max(0, (ReadNumber(_pids, "pids.current") ?? 0) - HostTasks.Idle);
        Write(_pids, PidsLimitFile, (limit + kept).ToString(CultureInfo.InvariantCulture));
    }

    private protected static void Write(string directory, string file, string value) => File.WriteAllText(Path.Join(directory, file), value);

    private protected static long? ReadNumber(string directory, string file)
    {
        string path = Path.Join(directory, file);
        return File.Exists(path) && long.TryParse(File.ReadAllBytes(path).AsSpan().Trim((byte)'\n'), CultureInfo.InvariantCulture, out long value) ? value : null;
    }

    private protected static long? ReadKey(string directory, string file, ReadOnlySpan<byte> key) => FindKey(File.ReadAllBytes(Path.Join(directory, file)), key);

    // Reads both keys at once, because the kernel computes all keys for each read.
    private protected static long? ReadSum(string directory, string file, ReadOnlySpan<byte> first, ReadOnlySpan<byte> second)
    {
        ReadOnlySpan<byte> content = File.ReadAllBytes(Path.Join(directory, file));
        return FindKey(content, first) + FindKey(content, second);
    }

    private static long? FindKey(ReadOnlySpan<byte> content, ReadOnlySpan<byte> key)
    {
        foreach (Range range in content.Split((byte)'\n'))
        {
            ReadOnlySpan<byte> line = content[range];
            if (line.StartsWith(key) && line.Length > key.Length && line[key.Length] == ' ')
            {
                return long.Parse(line[(key.Length + 1)..], CultureInfo.InvariantCulture);
            }
        }

        return null;
    }

    private static bool TryRemove(string directory)
    {
        try
        {
            Directory.Delete(directory);
            return true;
        }
        catch (DirectoryNotFoundException)
        {
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }
}
