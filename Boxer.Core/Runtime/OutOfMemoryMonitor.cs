using Boxer.Processes;
using Boxer.Runtime.Cgroups;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime;

/// <summary>Watches whether the kernel kills processes of a cgroup for lack of memory: the way they end does not show it.</summary>
internal sealed class OutOfMemoryMonitor : IDisposable
{
    // A notification comes before the kill. It also comes if a cgroup above lacks memory, and then the kernel may kill elsewhere.
    private const int Checks = 40;
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(10);
    private readonly Cgroup _cgroup;
    private readonly SafeFileHandle _descriptor;
    private readonly DescriptorPoller.Registration _registration;
    private readonly uint _events;
    private readonly TimeProvider _time;
    private readonly TaskCompletionSource _killed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile bool _disposed;

    /// <param name="cgroup">The cgroup.</param>
    /// <param name="poller">Waits for the kernel's notifications.</param>
    /// <param name="time">The clock.</param>
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

    /// <summary>Completes when a process was killed; otherwise never.</summary>
    internal Task Killed => _killed.Task;

    /// <inheritdoc/>
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
                for (int check = 0; !_disposed && check < Checks && _cgroup.ReadOutOfMemory() == OutOfMemory.None; check++)
                {
                    await Task.Delay(Pause, _time).ConfigureAwait(false);
                }

                if (_disposed)
                {
                    return;
                }

                // Without this the descriptor stays ready.
                _cgroup.AcknowledgeOutOfMemory(_descriptor);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or ObjectDisposedException)
        {
            // The cgroup is gone, and with it everything that could be killed.
            return;
        }

        _killed.TrySetResult();
    }
}
