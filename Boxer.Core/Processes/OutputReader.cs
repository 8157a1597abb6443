using System.Buffers;
using System.Runtime.InteropServices;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Processes;

/// <summary>
/// Reads a pipe of a child: takes the first bytes, tells when there were more, and goes on reading so that the writer is never stuck.
/// It ends at end of file, or on request when the pipe is empty: end of file comes late, since the runtime holds the other end too.
/// </summary>
internal sealed class OutputReader : IDisposable
{
    private const int BufferSize = 64 << 10;
    private readonly SafeFileHandle _pipe;
    private readonly long _limit;
    private readonly Func<ReadOnlyMemory<byte>, ValueTask>? _onData;
    private readonly DescriptorPoller.Registration _registration;
    private readonly MemoryStream _kept = new();
    private readonly TaskCompletionSource _stop = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly bool _leavesOpen;
    private readonly bool _keeps;
    private long _taken;
    private volatile bool _disposed;
    private readonly TaskCompletionSource _exceeded = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <param name="poller">Waits for the pipe.</param>
    /// <param name="pipe">Our end, not blocking.</param>
    /// <param name="limit">How many bytes are taken.</param>
    /// <param name="onData">Is given every chunk that is taken. The bytes never change after.</param>
    /// <param name="leavesOpen">Whether the pipe is for another reader after this one, and not disposed with it.</param>
    /// <param name="keeps">Whether the chunks are parts of <see cref="Kept"/>. Otherwise each has an array of its own, and nothing is kept.</param>
    internal OutputReader(
        DescriptorPoller poller, SafeFileHandle pipe, long limit, Func<ReadOnlyMemory<byte>, ValueTask>? onData = null, bool leavesOpen = false, bool keeps = true)
    {
        _pipe = pipe;
        _limit = limit;
        _onData = onData;
        _leavesOpen = leavesOpen;
        _keeps = keeps;
        _registration = poller.Register(pipe);
    }

    /// <summary>What was kept; whole once <see cref="Completion"/> has completed.</summary>
    internal ReadOnlyMemory<byte> Kept => _kept.GetBuffer().AsMemory(0, (int)_kept.Length);

    /// <summary>Completes when there was more than is taken.</summary>
    internal Task Exceeded => _exceeded.Task;

    /// <summary>Completes when nothing more is read; fails only if the receiver of the chunks did.</summary>
    internal Task Completion { get; private set; } = Task.CompletedTask;

    /// <summary>Starts reading.</summary>
    internal void Start() => Completion = Task.Run(ReadAsync);

    /// <summary>Nothing more will be written: read what is there and end.</summary>
    internal void StopWhenDrained() => _stop.TrySetResult();

    public void Dispose()
    {
        _disposed = true;
        _stop.TrySetResult();
        _registration.Dispose();
        if (!_leavesOpen)
        {
            _pipe.Dispose();
        }
    }

    private async Task ReadAsync()
    {
        byte[] buffer = ArrayPool<byte>.Shared.Rent(BufferSize);
        try
        {
            while (true)
            {
                // Asked before the read: what was written before the request is then read for sure.
                bool stopping = _stop.Task.IsCompleted;
                int count = Read(buffer);
                if (count > 0)
                {
                    await TakeAsync(buffer.AsMemory(0, count)).ConfigureAwait(false);
                }
                else if (count == 0 || stopping)
                {
                    return;
                }
                else
                {
                    await Task.WhenAny(_registration.WaitAsync(SysEpoll.EPOLLIN), _stop.Task).ConfigureAwait(false);
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private async ValueTask TakeAsync(ReadOnlyMemory<byte> data)
    {
        ReadOnlyMemory<byte> fits = data[..(int)Math.Min(data.Length, _limit - _taken)];
        if (fits.Length > 0)
        {
            _taken += fits.Length;
            ReadOnlyMemory<byte> own = _keeps ? Keep(fits) : fits.ToArray();
            if (_onData is not null)
            {
                await _onData(own).ConfigureAwait(false);
            }
        }

        if (fits.Length < data.Length)
        {
            _exceeded.TrySetResult();
        }
    }

    private ReadOnlyMemory<byte> Keep(ReadOnlyMemory<byte> data)
    {
        int start = (int)_kept.Length;
        _kept.Write(data.Span);
        return _kept.GetBuffer().AsMemory(start, data.Length);
    }

    /// <returns>The number of bytes, 0 at the end of file, -1 when the pipe is empty.</returns>
    private unsafe int Read(byte[] buffer)
    {
        fixed (byte* start = buffer)
        {
            while (true)
            {
                if (_disposed || _pipe.IsClosed)
                {
                    return 0;
                }

                nint count = Unistd.read(_pipe, start, buffer.Length);
                if (count >= 0)
                {
                    return (int)count;
                }

                switch (Marshal.GetLastPInvokeError())
                {
                    case Errno.EINTR:
                        continue;
                    case Errno.EAGAIN:
                        return -1;
                    default:
                        return 0;
                }
            }
        }
    }
}
