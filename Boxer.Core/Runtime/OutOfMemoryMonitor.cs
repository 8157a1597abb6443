using Boxer.Processes;
using Boxer.Runtime.Cgroups;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime;

/// <summary>Watches whether the kernel kills in a cgroup for want of memory: how the processes end does not tell.</summary>
internal sealed class OutOfMemoryMonitor : IDisposable
{
    // A notification comes before the kill that it is about, and also for the want of a cgroup above, where it may kill elsewhere.
    private const int Looks = 40;
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(10);
    private readonly Cgroup _cgroup;
    private readonly SafeFileHandle _descriptor;
    private readonly DescriptorPoller.Registration _registration;
    private readonly uint _events;
    private readonly TimeProvider _time;
    private readonly TaskCompletionSource _killed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile bool _disposed;

    internal OutOfMemoryMonitor(Cgroup cgroup, DescriptorPoller poller, TimeProvider time)
    {
        _cgroup = cgroup;
        _time = time;
        (_descriptor, _events) = cgroup.OpenOutOfMemoryEvents();
        try
        {
            _registration = poller.Register(_descriptor);
        }
        catch
        {
            _descriptor.Dispose();
            throw;
        }

        _ = WatchAsync();
    }

    /// <summary>Completes when something was killed; never, if nothing is.</summary>
    internal Task Killed => _killed.Task;

    public void Dispose()
    {
        _disposed = true;
        _registration.Dispose();
        _descriptor.Dispose();
    }

    private async Task WatchAsync()
    {
        try
        {
            while (_cgroup.ReadOutOfMemory() == OutOfMemory.None)
            {
                await _registration.WaitAsync(_events).ConfigureAwait(false);
                for (int look = 0; !_disposed && look < Looks && _cgroup.ReadOutOfMemory() == OutOfMemory.None; look++)
                {
                    await Task.Delay(Pause, _time).ConfigureAwait(false);
                }

                if (_disposed)
                {
                    return;
                }

                // Until then the descriptor stays ready.
                _cgroup.AcknowledgeOutOfMemory(_descriptor);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or ObjectDisposedException)
        {
            // The cgroup is gone, and with it what could be killed.
            return;
        }

        _killed.TrySetResult();
    }
}
