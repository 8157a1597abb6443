using Boxer.Runtime.Cgroups;

namespace Boxer.Runtime;

/// <summary>
/// Follows what a sandbox uses from its hand-over on. The kernel adds up processor time but ends nothing for it, and its peak of memory is one
/// with page cache, so both are looked at again and again.
/// </summary>
internal sealed class UsageWatch : IAsyncDisposable
{
    // Most runs are short; a look takes some 50 microseconds.
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(10);
    private static readonly TimeSpan LongestPause = TimeSpan.FromMilliseconds(100);

    // No more than a timer is late by on a busy machine.
    private static readonly TimeSpan ShortestPause = TimeSpan.FromMilliseconds(5);
    private readonly Cgroup? _cgroup;
    private readonly TimeSpan? _cpuLimit;
    private readonly double _cores;
    private readonly TimeProvider _time;
    private readonly TimeSpan _cpuBefore;
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _cpuExceeded = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Task _looking;
    private long? _peakMemoryBytes;

    /// <param name="cgroup">The sandbox's, with nothing of the run in it yet; <see langword="null"/>: nothing is known of its use.</param>
    /// <param name="cpuLimit">The most processor time; <see langword="null"/>: no bound.</param>
    /// <param name="cores">The cgroup's quota.</param>
    /// <param name="time">The clock.</param>
    internal UsageWatch(Cgroup? cgroup, TimeSpan? cpuLimit, double cores, TimeProvider time)
    {
        _cgroup = cgroup;
        _cpuLimit = cpuLimit;
        _cores = cores;
        _time = time;
        _cpuBefore = cgroup?.ReadCpu() ?? TimeSpan.Zero;
        _looking = cgroup is null ? Task.CompletedTask : LookAsync();
    }

    /// <summary>Completes when the limit of processor time is reached; never, if it is not.</summary>
    internal Task CpuExceeded => _cpuExceeded.Task;

    /// <summary>Ends the watch with a last look.</summary>
    /// <returns>Processor time since the hand-over, and the most memory that was seen; <see langword="null"/> where the kernel does not say.</returns>
    internal async Task<(TimeSpan? Cpu, long? PeakMemoryBytes)> StopAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _looking.ConfigureAwait(false);
        LookAtMemory();
        return (LookAtCpu(), _peakMemoryBytes);
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _looking.ConfigureAwait(false);
        _stop.Dispose();
    }

    /// <summary>How long a sandbox cannot use up what is left: neither has it more processors, nor more of their time than its quota for each period.</summary>
    /// <param name="left">What is left.</param>
    /// <param name="cores">Its quota.</param>
    /// <param name="processors">Processors of the machine.</param>
    internal static TimeSpan SafePause(TimeSpan left, double cores, int processors)
    {
        TimeSpan byProcessors = left / processors;
        TimeSpan byQuota = (left / cores) - TimeSpan.FromMicroseconds(Cgroup.PeriodMicroseconds);
        return byProcessors > byQuota ? byProcessors : byQuota;
    }

    private async Task LookAsync()
    {
        TimeSpan memoryPause = FirstPause;
        long lastMemory = _time.GetTimestamp();
        TimeSpan cpu = TimeSpan.Zero;
        while (true)
        {
            TimeSpan pause = memoryPause - _time.GetElapsedTime(lastMemory);
            if (_cpuLimit - cpu is { } left && !_cpuExceeded.Task.IsCompleted && SafePause(left, _cores, Environment.ProcessorCount) is var safe && safe < pause)
            {
                pause = safe;
            }

            await Task.Delay(pause > ShortestPause ? pause : ShortestPause, _time, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (_stop.IsCancellationRequested)
            {
                return;
            }

            if (_cpuLimit is not null)
            {
                cpu = LookAtCpu() ?? cpu;
            }

            if (_time.GetElapsedTime(lastMemory) >= memoryPause)
            {
                LookAtMemory();
                lastMemory = _time.GetTimestamp();
                memoryPause = memoryPause * 2 < LongestPause ? memoryPause * 2 : LongestPause;
            }
        }
    }

    private TimeSpan? LookAtCpu()
    {
        TimeSpan? cpu = Read(() => _cgroup?.ReadCpu()) - _cpuBefore;
        if (cpu >= _cpuLimit)
        {
            _cpuExceeded.TrySetResult();
        }

        return cpu;
    }

    private void LookAtMemory()
    {
        if (Read(() => _cgroup?.ReadMemory()) is { } bytes && !(bytes < _peakMemoryBytes))
        {
            _peakMemoryBytes = bytes;
        }
    }

    // A look that fails, say for want of a descriptor, is made up for by the next.
    private static T? Read<T>(Func<T?> read)
        where T : struct
    {
        try
        {
            return read();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
