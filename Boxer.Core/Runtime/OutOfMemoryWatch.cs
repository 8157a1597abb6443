using Boxer.Runtime.Cgroups;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime;

/// <summary>Watches whether the kernel kills in a cgroup for want of memory: how the processes end does not tell.</summary>
internal sealed class OutOfMemoryWatch : IDisposable
{
    private readonly Cgroup _cgroup;
    private readonly SafeFileHandle _descriptor;
    private readonly DescriptorPoller.Registration _registration;
    private readonly uint _events;
    private readonly bool _eachIsAKill;
    private readonly TaskCompletionSource _killed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile bool _disposed;

    internal OutOfMemoryWatch(Cgroup cgroup, DescriptorPoller poller)
    {
        _cgroup = cgroup;
        (_descriptor, _events, _eachIsAKill) = cgroup.OpenOutOfMemoryWatch();
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
        while (!_eachIsAKill && _cgroup.ReadOutOfMemoryKills() == 0)
        {
            await _registration.WaitAsync(_events).ConfigureAwait(false);
            if (_disposed)
            {
                return;
            }
        }

        if (_eachIsAKill)
        {
            await _registration.WaitAsync(_events).ConfigureAwait(false);
        }

        if (!_disposed)
        {
            _killed.TrySetResult();
        }
    }
}
