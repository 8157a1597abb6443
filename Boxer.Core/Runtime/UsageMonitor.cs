using Boxer.Runtime.Cgroups;

namespace Boxer.Runtime;

/// <summary>
/// Samples the processor time, memory and refused forks of a sandbox from the hand-over on. The kernel counts processor time but has no limit for
/// it; its peak of memory includes page cache; and not every kernel reports a refused fork (pids.events of cgroup v1).
/// </summary>
internal sealed class UsageMonitor : IAsyncDisposable
{
    // Most runs are short. A sample takes about 50 microseconds.
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(10);
    private static readonly TimeSpan LongestPause = TimeSpan.FromMilliseconds(100);

    // On a busy machine timers are late by about this much.
    private static readonly TimeSpan ShortestPause = TimeSpan.FromMilliseconds(5);
    private readonly Cgroup? _cgroup;
    private readonly TimeSpan? _cpuLimit;
    private readonly double _cores;
    private readonly TimeProvider _time;
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _cpuExceeded = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _forkRefused = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Task _sampling;
    private TimeSpan _cpuBefore;
    private TimeSpan? _lastCpu;
    private long _refusedBefore;
    private long? _peakMemoryBytes;
    private volatile bool _isLimited;

    /// <param name="cgroup">The cgroup of the sandbox, before the hand-over; <see langword="null"/>: nothing is sampled.</param>
    /// <param name="cpuLimit">Maximum processor time; <see langword="null"/>: no limit.</param>
    /// <param name="cores">The quota of the cgroup, in processors.</param>
    /// <param name="time">The clock.</param>
    internal UsageMonitor(Cgroup? cgroup, TimeSpan? cpuLimit, double cores, TimeProvider time)
    {
        _cgroup = cgroup;
        _cpuLimit = cpuLimit;
        _cores = cores;
        _time = time;
        _cpuBefore = cgroup?.ReadCpu() ?? TimeSpan.Zero;
        _refusedBefore = Read(() => cgroup?.ReadRefusedForks()) ?? 0;
        _sampling = cgroup is null ? Task.CompletedTask : SampleAsync();
    }

    /// <summary>Restarts the count of processor time, and enforces the limit from now on. Call it just before the command starts.</summary>
    internal void StartCount()
    {
        _cpuBefore = Read(() => _cgroup?.ReadCpu()) ?? _cpuBefore;
        _lastCpu = null;
        _isLimited = true;
    }

    /// <summary>Completes when the limit of processor time is reached; otherwise never.</summary>
    internal Task CpuExceeded => _cpuExceeded.Task;

    /// <summary>
    /// Completes when the host's kernel has refused the sandbox a process or thread; otherwise never. gVisor's kernel seldom survives that: it hangs
    /// for seconds, then crashes.
    /// </summary>
    internal Task ForkRefused => _forkRefused.Task;

    /// <summary>Whether a fork was refused because of the sandbox's own limit, and not because of a cgroup above.</summary>
    internal bool IsOwnPidsLimit { get; private set; }

    /// <summary>Ends the sampling with a last sample.</summary>
    /// <returns>Processor time since <see cref="StartCount"/>, and the highest sample of memory; <see langword="null"/> if the kernel does not report it.</returns>
    internal async Task<(TimeSpan? Cpu, long? PeakMemoryBytes)> StopAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _sampling.ConfigureAwait(false);
        SampleMemory();
        SampleForks();
        return (SampleCpu() ?? _lastCpu, _peakMemoryBytes);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _sampling.ConfigureAwait(false);
        _stop.Dispose();
    }

    /// <summary>
    /// Calculates a time within which a sandbox cannot use up the rest of its limit: it has no more processors than the machine, and no more of
    /// their time than its quota for each period.
    /// </summary>
    /// <param name="left">The rest of the limit.</param>
    /// <param name="cores">The quota, in processors.</param>
    /// <param name="processors">Number of processors of the machine.</param>
    internal static TimeSpan SafePause(TimeSpan left, double cores, int processors)
    {
        TimeSpan byProcessors = left / processors;
        TimeSpan byQuota = (left / cores) - TimeSpan.FromMicroseconds(Cgroup.PeriodMicroseconds);
        return byProcessors > byQuota ? byProcessors : byQuota;
    }

    private async Task SampleAsync()
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
                cpu = SampleCpu() ?? cpu;
            }

            if (_time.GetElapsedTime(lastMemory) >= memoryPause)
            {
                SampleMemory();
                SampleForks();
                lastMemory = _time.GetTimestamp();
                memoryPause = memoryPause * 2 < LongestPause ? memoryPause * 2 : LongestPause;
            }
        }
    }

    private TimeSpan? SampleCpu()
    {
        TimeSpan? cpu = Read(() => _cgroup?.ReadCpu()) - _cpuBefore;
        if (_isLimited && cpu >= _cpuLimit)
        {
            _cpuExceeded.TrySetResult();
        }

        _lastCpu = cpu ?? _lastCpu;
        return cpu;
    }

    private void SampleMemory()
    {
        if (Read(() => _cgroup?.ReadMemory()) is { } bytes && !(bytes < _peakMemoryBytes))
        {
            _peakMemoryBytes = bytes;
        }
    }

    private void SampleForks()
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
