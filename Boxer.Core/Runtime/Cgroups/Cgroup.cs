using System.Globalization;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime.Cgroups;

/// <summary>What a cgroup holds.</summary>
/// <param name="CpuCores">Cores.</param>
/// <param name="MemoryBytes">Memory; swap is not given on top.</param>
/// <param name="HostPids">Host processes and threads: those of the sandbox's kernel, which has some for each process and thread of the command.</param>
internal sealed record CgroupLimits(double CpuCores, long MemoryBytes, int HostPids);

/// <summary>What the kernel did in a cgroup for want of memory.</summary>
internal enum OutOfMemory
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>It killed, because the cgroup reached its own limit.</summary>
    OwnLimit,

    /// <summary>It killed, because a cgroup above this one, or the machine, had no more.</summary>
    Host,
}

/// <summary>The cgroup of one sandbox. Disposing removes it; what is in it is killed.</summary>
internal abstract class Cgroup : IAsyncDisposable
{
    /// <summary>Processor time of a sandbox whose command runs, against others that want it: what the kernel gives every cgroup.</summary>
    internal const int CommandWeight = 100;

    /// <summary>The same of a sandbox that is booted or waits: it takes what commands leave, so that it does not use up their wall clocks.</summary>
    internal const int WaitingWeight = 25;

    /// <summary>How often the kernel renews the quota of processor time.</summary>
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

    /// <summary>One directory for each hierarchy.</summary>
    internal IReadOnlyList<string> Directories { get; }

    /// <summary>The files that a process writes its id to, to join.</summary>
    internal IEnumerable<string> ProcsFiles => Directories.Select(directory => Path.Join(directory, "cgroup.procs"));

    /// <summary>Sets the limits.</summary>
    internal abstract void Apply(CgroupLimits limits);

    /// <summary>Sets the limit of processor time alone.</summary>
    internal abstract void SetCpu(double cores);

    /// <summary>Sets how much processor time it gets where others want some too.</summary>
    /// <param name="weight">1 to 10,000; the kernel's default is 100.</param>
    internal abstract void SetCpuWeight(int weight);

    /// <summary>Whether the kernel killed something in the cgroup for want of memory, and whose limit it was.</summary>
    internal abstract OutOfMemory ReadOutOfMemory();

    /// <summary>
    /// Processor time, user and system, of all that ever was in it; <see langword="null"/> where the kernel does not say, here and below.
    /// </summary>
    internal abstract TimeSpan? ReadCpu();

    /// <summary>Memory that it has now and that is not page cache of files: anonymous and shared (tmpfs, memfd).</summary>
    internal abstract long? ReadMemory();

    /// <summary>The most memory that it was ever charged with, page cache too: that is what its limit is compared with.</summary>
    internal abstract long? ReadPeakCharge();

    /// <summary>Number of forks that the kernel refused in it for want of pids; <see langword="null"/> where the kernel does not count them.</summary>
    internal long? ReadRefusedForks() => File.Exists(Path.Join(_pids, PidsEventsFile)) ? ReadKey(_pids, PidsEventsFile, "max"u8) : null;

    /// <summary>
    /// Whether it has as many pids as its limit, or had. Where not, forks were refused for the limit of a cgroup above. Older kernels keep no
    /// peak; there it is so while at least three quarters of the limit are in use.
    /// </summary>
    internal bool IsAtPidsLimit()
    {
        long? limit = ReadNumber(_pids, PidsLimitFile);
        return ReadNumber(_pids, "pids.peak") is { } peak ? !(peak < limit) : !(ReadNumber(_pids, "pids.current") < limit * 3 / 4);
    }

    /// <summary>Opens a descriptor that becomes ready when <see cref="ReadOutOfMemory"/> may have changed.</summary>
    /// <returns>The descriptor, and the epoll events to wait for.</returns>
    internal abstract (SafeFileHandle Descriptor, uint Events) OpenOutOfMemoryWatch();

    /// <summary>Makes the descriptor wait for the next change.</summary>
    internal abstract void AcknowledgeOutOfMemory(SafeFileHandle descriptor);

    /// <summary>Begins to freeze what is in it. Without a freezer nothing happens.</summary>
    internal abstract void Freeze();

    /// <summary>Makes what is in it go on.</summary>
    internal abstract void Thaw();

    /// <summary>Lists the processes in it.</summary>
    internal IReadOnlyList<int> ReadProcesses() => ReadProcesses(ProcsFiles.First());

    /// <summary>Sends SIGKILL to everything in it, once. What is forked meanwhile needs another call.</summary>
    /// <returns>Whether something was there.</returns>
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

    /// <summary>Kills what is in the directories and removes them.</summary>
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

            // Most are gone at once.
            await Task.Delay(elapsed < RemovalPatience / 10 ? RemovalPause : LongRemovalPause, time).ConfigureAwait(false);
        }
    }

    internal static IReadOnlyList<int> ReadProcesses(string procsFile)
    {
        try
        {
            // As bytes, here and below, because a clean-up reads these files every few milliseconds.
            List<int> found = [];
            ReadOnlySpan<byte> content = File.ReadAllBytes(procsFile);
            foreach (Range line in content.Split((byte)'\n'))
            {
                // Those of another PID namespace are 0; after the last there is nothing.
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

    // Tasks that a warm-up left in runsc do not count against the run.
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

    // Both from one reading, because the kernel sums up all keys for each.
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
