using System.Globalization;
using Boxer.Native;

namespace Boxer.Linux;

/// <summary>The processors that a thread may use, as a mask of sched_setaffinity(2).</summary>
internal static class ProcessorAffinity
{
    private const int MaskBytes = 1024;
    private const int MaxPasses = 100;

    /// <summary>Reads the mask of this process's first thread, from which the others have theirs.</summary>
    /// <exception cref="IOException">It cannot be read.</exception>
    internal static byte[] ReadOwn() => Read(Environment.ProcessId) ?? throw new IOException("The processors that this process may use cannot be read (sched_getaffinity(2)).");

    /// <summary>Lists the processors of a mask.</summary>
    internal static IReadOnlyList<int> List(byte[] mask) => [.. Enumerable.Range(0, mask.Length * 8).Where(number => (mask[number / 8] >> (number % 8) & 1) != 0)];

    /// <summary>
    /// Gives every thread of some processes a mask. Threads inherit the mask of the thread that makes them, so it looks again until it finds
    /// none without it. A thread that another user's or another cgroup's rules hold keeps what it has.
    /// </summary>
    /// <param name="readProcesses">Lists the processes.</param>
    /// <param name="mask">The mask.</param>
    internal static void Widen(Func<IEnumerable<int>> readProcesses, byte[] mask)
    {
        bool isChanging = true;
        for (int pass = 0; isChanging && pass < MaxPasses; pass++)
        {
            isChanging = false;
            foreach (int process in readProcesses())
            {
                isChanging |= WidenProcess(process, mask);
            }
        }
    }

    // Also true where a thread has ended: it may have made another before.
    private static bool WidenProcess(int process, byte[] mask)
    {
        bool isChanging = false;
        try
        {
            foreach (string entry in Directory.EnumerateDirectories($"/proc/{process}/task"))
            {
                int thread = int.Parse(Path.GetFileName(entry), CultureInfo.InvariantCulture);
                byte[]? before = Read(thread);
                if (before is null || !before.AsSpan().SequenceEqual(mask))
                {
                    isChanging |= before is null || (TryWrite(thread, mask) && Read(thread)?.AsSpan().SequenceEqual(before) != true);
                }
            }
        }
        catch (IOException)
        {
            isChanging = true;
        }

        return isChanging;
    }

    private static unsafe byte[]? Read(int thread)
    {
        byte[] mask = new byte[MaskBytes];
        fixed (byte* at = mask)
        {
            return Sched.sched_getaffinity(thread, MaskBytes, at) >= 0 ? mask : null;
        }
    }

    private static unsafe bool TryWrite(int thread, byte[] mask)
    {
        fixed (byte* at = mask)
        {
            return Sched.sched_setaffinity(thread, MaskBytes, at) == 0;
        }
    }
}
