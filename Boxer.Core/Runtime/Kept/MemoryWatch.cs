using Boxer.Processes;
using Boxer.Runtime.Cgroups;

namespace Boxer.Runtime.Kept;

/// <summary>Kills a sandbox when the kernel has killed one of its processes for lack of memory. It watches only while something runs in the sandbox.</summary>
/// <param name="cgroup">The cgroup; <see langword="null"/>: nothing is watched.</param>
/// <param name="poller">Waits for the kernel's notifications.</param>
/// <param name="time">The clock.</param>
/// <param name="kill">Kills the sandbox.</param>
internal sealed class MemoryWatch(Cgroup? cgroup, DescriptorPoller poller, TimeProvider time, Action kill)
{
    private readonly Lock _gate = new();
    private Watch? _current;

    /// <summary>Watches until the result is disposed.</summary>
    /// <exception cref="IOException">The process has no free descriptors, or the cgroup is gone.</exception>
    internal IDisposable Begin()
    {
        lock (_gate)
        {
            _current ??= new Watch(this, cgroup is null ? null : Open(cgroup));
            _current.Users++;
            return new Use(_current);
        }
    }

    private OutOfMemoryMonitor Open(Cgroup watched)
    {
        var monitor = new OutOfMemoryMonitor(watched, poller, time);
        _ = monitor.Killed.ContinueWith(_ => kill(), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        return monitor;
    }

    private sealed class Watch(MemoryWatch owner, OutOfMemoryMonitor? monitor)
    {
        internal int Users { get; set; }

        internal void End()
        {
            lock (owner._gate)
            {
                if (--Users == 0)
                {
                    owner._current = null;
                    monitor?.Dispose();
                }
            }
        }
    }

    private sealed class Use(Watch watch) : IDisposable
    {
        private int _disposed;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _disposed, 1) == 0)
            {
                watch.End();
            }
        }
    }
}
