using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Processes;

/// <summary>
/// Waits for descriptors for which .NET has no asynchronous wait: pipes of a sandbox, pidfds, cgroup events. One thread serves all
/// sandboxes of a runner, so that an idle sandbox blocks no thread of the thread pool.
/// </summary>
internal sealed unsafe class DescriptorPoller : IDisposable
{
    private const int MaxEvents = 64;
    private readonly SafeFileHandle _epoll;
    private readonly SafeFileHandle _wakeUp;
    private readonly ConcurrentDictionary<ulong, Registration> _registrations = new();
    private readonly Thread _thread;
    private ulong _lastKey;
    private volatile bool _disposed;

    internal DescriptorPoller()
    {
        _epoll = new SafeFileHandle(Check.Result(SysEpoll.epoll_create1(SysEpoll.EPOLL_CLOEXEC), "epoll_create1"), ownsHandle: true);
        try
        {
            _wakeUp = new SafeFileHandle(Check.Result(SysEventfd.eventfd(0, SysEventfd.EFD_CLOEXEC | SysEventfd.EFD_NONBLOCK), "eventfd"), ownsHandle: true);
            Control(SysEpoll.EPOLL_CTL_ADD, _wakeUp, SysEpoll.EPOLLIN, 0);
        }
        catch
        {
            _wakeUp?.Dispose();
            _epoll.Dispose();
            throw;
        }

        _thread = new Thread(Poll) { IsBackground = true, Name = "boxer-poll" };
        _thread.Start();
    }

    /// <summary>Registers a descriptor.</summary>
    /// <param name="descriptor">Descriptor to wait for. Dispose the registration before it is closed.</param>
    internal Registration Register(SafeHandle descriptor)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        ulong key = Interlocked.Increment(ref _lastKey);
        var registration = new Registration(this, descriptor, key);
        _registrations[key] = registration;
        try
        {
            // The first wait arms the registration. Without EPOLLONESHOT the poller would report a hang-up at once.
            Control(SysEpoll.EPOLL_CTL_ADD, descriptor, SysEpoll.EPOLLONESHOT, key);
        }
        catch
        {
            _registrations.TryRemove(key, out _);
            throw;
        }

        return registration;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _ = Unistd.Write(_wakeUp, BitConverter.GetBytes(1ul));
        _thread.Join();
        foreach (Registration registration in _registrations.Values)
        {
            registration.Dispose();
        }

        _wakeUp.Dispose();
        _epoll.Dispose();
    }

    private void Control(int operation, SafeHandle descriptor, uint events, ulong key)
    {
        byte* data = stackalloc byte[SysEpoll.SizeOfEpollEvent];
        SysEpoll.WriteEpollEvent(data, events, key);
        Check.Result(SysEpoll.epoll_ctl(_epoll.DangerousGetHandle().ToInt32(), operation, descriptor.DangerousGetHandle().ToInt32(), data), "epoll_ctl");
    }

    private void Poll()
    {
        byte* events = stackalloc byte[SysEpoll.SizeOfEpollEvent * MaxEvents];
        int epoll = _epoll.DangerousGetHandle().ToInt32();
        while (!_disposed)
        {
            int count = SysEpoll.epoll_wait(epoll, events, MaxEvents, timeoutMilliseconds: -1);
            for (int i = 0; i < count; i++)
            {
                ulong key = SysEpoll.ReadEpollData(events + (i * SysEpoll.SizeOfEpollEvent));
                if (_registrations.TryGetValue(key, out Registration? registration))
                {
                    registration.Signal();
                }
            }
        }
    }

    /// <summary>Registration of a descriptor, for one waiter at a time.</summary>
    internal sealed class Registration : IDisposable
    {
        private readonly DescriptorPoller _poller;
        private readonly SafeHandle _descriptor;
        private readonly ulong _key;
        private readonly Lock _gate = new();
        private TaskCompletionSource? _waiter;
        private bool _disposed;

        internal Registration(DescriptorPoller poller, SafeHandle descriptor, ulong key)
        {
            _poller = poller;
            _descriptor = descriptor;
            _key = key;
        }

        /// <summary>Waits for one of the events, an error, a hang-up, or the disposal of this registration.</summary>
        /// <param name="events">Events of epoll(7).</param>
        internal Task WaitAsync(uint events)
        {
            lock (_gate)
            {
                if (_disposed)
                {
                    return Task.CompletedTask;
                }

                // Continues an earlier wait that its caller abandoned.
                if (_waiter is { Task.IsCompleted: false } pending)
                {
                    return pending.Task;
                }

                _waiter = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                _poller.Control(SysEpoll.EPOLL_CTL_MOD, _descriptor, events | SysEpoll.EPOLLONESHOT, _key);
                return _waiter.Task;
            }
        }

        public void Dispose()
        {
            lock (_gate)
            {
                if (_disposed)
                {
                    return;
                }

                _disposed = true;
                _poller._registrations.TryRemove(_key, out _);
                if (!_descriptor.IsClosed && !_poller._epoll.IsClosed)
                {
                    _poller.Control(SysEpoll.EPOLL_CTL_DEL, _descriptor, 0, 0);
                }

                _waiter?.TrySetResult();
            }
        }

        internal void Signal()
        {
            lock (_gate)
            {
                _waiter?.TrySetResult();
            }
        }
    }
}
