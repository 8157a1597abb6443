using Boxer.Runtime.Cgroups;

namespace Boxer.Runtime;

/// <summary>
/// Samples the processor time, memory and refused forks of a sandbox from its hand-over on. The kernel counts processor time but has no limit
/// for it, its own peak of memory includes page cache, and not every kernel reports a refused fork (pids.events of cgroup v1).
/// </summary>
internal sealed class UsageMonitor : IAsyncDisposable
{
    // Most runs are short; a look takes some 50 microseconds.
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(10);
    private static readonly TimeSpan LongestPause = TimeSpan.FromMilliseconds(100);

    // Timers of a busy machine are late by as much.
    private static readonly TimeSpan ShortestPause = TimeSpan.FromMilliseconds(5);
    private readonly Cgroup? _cgroup;
    private readonly TimeSpan? _cpuLimit;
    private readonly double _cores;
    private readonly TimeProvider _time;
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _cpuExceeded = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _forkRefused = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Task _looking;
    private TimeSpan _cpuBefore;
    private TimeSpan? _lastCpu;
    private long _refusedBefore;
    private long? _peakMemoryBytes;
    private volatile bool _isLimited;

    /// <param name="cgroup">The sandbox's, with nothing of the run in it yet; <see langword="null"/>: nothing is known of its use.</param>
    /// <param name="cpuLimit">The most processor time; <see langword="null"/>: no bound.</param>
    /// <param name="cores">The cgroup's quota.</param>
    /// <param name="time">The clock.</param>
    internal UsageMonitor(Cgroup? cgroup, TimeSpan? cpuLimit, double cores, TimeProvider time)
    {
        _cgroup = cgroup;
        _cpuLimit = cpuLimit;
        _cores = cores;
        _time = time;
        _cpuBefore = cgroup?.ReadCpu() ?? TimeSpan.Zero;
        _refusedBefore = Read(() => cgroup?.ReadRefusedForks()) ?? 0;
        _looking = cgroup is null ? Task.CompletedTask : LookAsync();
    }

    /// <summary>Starts the count of processor time anew, and applies the limit from now on: the command is about to start.</summary>
    internal void StartCount()
    {
        _cpuBefore = Read(() => _cgroup?.ReadCpu()) ?? _cpuBefore;
        _lastCpu = null;
        _isLimited = true;
    }

    /// <summary>Completes when the limit of processor time is reached; never, if it is not.</summary>
    internal Task CpuExceeded => _cpuExceeded.Task;

    /// <summary>
    /// Completes when the host's kernel has refused the sandbox a process or thread; never, if it does not. gVisor's kernel seldom survives that: it
    /// hangs for seconds, then crashes.
    /// </summary>
    internal Task ForkRefused => _forkRefused.Task;

    /// <summary>Whether that was for the sandbox's own limit, and not for the limit of a cgroup above.</summary>
    internal bool IsOwnPidsLimit { get; private set; }

    /// <summary>Ends the sampling with a last sample.</summary>
    /// <returns>Processor time since <see cref="StartCount"/>, and the most memory that was seen; <see langword="null"/> where the kernel does not say.</returns>
    internal async Task<(TimeSpan? Cpu, long? PeakMemoryBytes)> StopAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _looking.ConfigureAwait(false);
        LookAtMemory();
        LookAtForks();
        return (LookAtCpu() ?? _lastCpu, _peakMemoryBytes);
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _looking.ConfigureAwait(false);
        _stop.Dispose();
    }

    /// <summary>
    /// Time within which a sandbox cannot use up the rest of its limit: it has no more processors than the machine, and no more of their time
    /// than its quota for each period.
    /// </summary>
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
                LookAtForks();
                lastMemory = _time.GetTimestamp();
                memoryPause = memoryPause * 2 < LongestPause ? memoryPause * 2 : LongestPause;
            }
        }
    }

    private TimeSpan? LookAtCpu()
    {
        TimeSpan? cpu = Read(() => _cgroup?.ReadCpu()) - _cpuBefore;
        if (_isLimited && cpu >= _cpuLimit)
        {
            _cpuExceeded.TrySetResult();
        }

        _lastCpu = cpu ?? _lastCpu;
        return cpu;
    }

    private void LookAtMemory()
    {
        if (Read(() => _cgroup?.ReadMemory()) is { } bytes && !(bytes < _peakMemoryBytes))
        {
            _peakMemoryBytes = bytes;
        }
    }

    private void LookAtForks()
    {
        if (!_forkRefused.Task.IsCompleted && Read(() => _cgroup?.ReadRefusedForks()) > _refusedBefore)
        {
            IsOwnPidsLimit = Read(() => _cgroup?.IsAtPidsLimit()) ?? true;
            _forkRefused.TrySetResult();
        }
    }

    // A read that failed, for example without a free descriptor, is repeated by the next sample.
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
