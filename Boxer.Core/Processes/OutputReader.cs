using System.Buffers;
using System.Runtime.InteropServices;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Processes;

/// <summary>
/// Reads a pipe of a child: keeps the first bytes, reports if there were more, and continues to read so that the writer never blocks.
/// It stops at the end of the file, or on request when the pipe is empty: the end of the file comes late, because the runtime has the other
/// end open too.
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
    private readonly bool _keeps;
    private long _drainLeft = long.MaxValue;
    private long _taken;
    private volatile bool _disposed;
    private volatile bool _isAbandoned;
    private readonly TaskCompletionSource _exceeded = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Initializes a reader; <see cref="Start"/> begins to read.</summary>
    /// <param name="poller">Poller that waits for the pipe.</param>
    /// <param name="pipe">This process's end of the pipe, non-blocking.</param>
    /// <param name="limit">Maximum number of bytes to accept.</param>
    /// <param name="onData">Receives each accepted chunk. The bytes do not change afterwards.</param>
    /// <param name="keeps">Whether the chunks are parts of <see cref="Kept"/>. Otherwise each chunk has its own array, and <see cref="Kept"/> stays empty.</param>
    internal OutputReader(
        DescriptorPoller poller, SafeFileHandle pipe, long limit, Func<ReadOnlyMemory<byte>, ValueTask>? onData = null, bool keeps = true)
    {
        _pipe = pipe;
        _limit = limit;
        _onData = onData;
        _keeps = keeps;
        _registration = poller.Register(pipe);
    }

    /// <summary>Kept bytes; complete once <see cref="Completion"/> has completed.</summary>
    internal ReadOnlyMemory<byte> Kept => _kept.GetBuffer().AsMemory(0, (int)_kept.Length);

    /// <summary>Completes when the child has written more than the limit.</summary>
    internal Task Exceeded => _exceeded.Task;

    /// <summary>Completes when reading has ended. Fails only if the receiver of the chunks fails.</summary>
    internal Task Completion { get; private set; } = Task.CompletedTask;

    /// <summary>Starts reading.</summary>
    internal void Start() => Completion = Task.Run(ReadAsync);

    /// <summary>Stops reading once the pipe is empty. Call it when nothing more will be written.</summary>
    /// <param name="most">Maximum number of bytes to read until then, for a pipe that others may still write to.</param>
    internal void StopWhenDrained(long most = long.MaxValue)
    {
        Volatile.Write(ref _drainLeft, most);
        _stop.TrySetResult();
    }

    /// <summary>Stops reading at once.</summary>
    internal void Abandon()
    {
        _isAbandoned = true;
        _stop.TrySetResult();
    }

    public void Dispose()
    {
        _disposed = true;
        _stop.TrySetResult();
        _registration.Dispose();
        _pipe.Dispose();
    }

    private async Task ReadAsync()
    {
        byte[] buffer = ArrayPool<byte>.Shared.Rent(BufferSize);
        try
        {
            while (true)
            {
                // Checked before the read, so that bytes written before the request are read for certain.
                bool stopping = _stop.Task.IsCompleted;
                int count = Read(buffer);
                if (count > 0 && !(stopping && (_drainLeft -= count) < 0))
                {
                    await TakeAsync(buffer.AsMemory(0, count)).ConfigureAwait(false);
                }
                else if (count >= 0 || stopping)
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

    /// <returns>Number of bytes, 0 at the end of the file, -1 if the pipe is empty.</returns>
    private int Read(byte[] buffer)
    {
        if (_disposed || _isAbandoned || _pipe.IsClosed)
        {
            return 0;
        }

        int count = Unistd.Read(_pipe, buffer);
        return count >= 0 ? count : Marshal.GetLastPInvokeError() == Errno.EAGAIN ? -1 : 0;
    }
}
