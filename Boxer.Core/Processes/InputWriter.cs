using System.Runtime.InteropServices;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Processes;

/// <summary>Writes the standard input of a command into its pipe, then closes it. A command that does not read is no fault.</summary>
internal sealed class InputWriter : IDisposable
{
    private const int AheadBytes = 64 << 10;

    // A read that heeds its token is over by then, so that the caller can read on.
    private static readonly TimeSpan Settling = TimeSpan.FromSeconds(0.1);
    private readonly TimeProvider _time;
    private readonly SafeFileHandle _pipe;
    private readonly DescriptorPoller.Registration _registration;
    private readonly CancellationTokenSource _ended = new();
    private readonly TaskCompletionSource _disposal = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile bool _disposed;

    internal InputWriter(DescriptorPoller poller, SafeFileHandle pipe, TimeProvider time)
    {
        _time = time;
        _pipe = pipe;
        _registration = poller.Register(pipe);
    }

    /// <summary>Completes when everything was written, or the reader is gone, or this was disposed.</summary>
    internal async Task WriteAsync(ReadOnlyMemory<byte> data)
    {
        try
        {
            await WriteAllAsync(data).ConfigureAwait(false);
        }
        finally
        {
            Dispose();
        }
    }

    /// <summary>
    /// As <see cref="WriteAsync"/>, of a stream that is read no faster than the command reads, and not disposed. A read that does not heed its
    /// token is not waited for when this is disposed.
    /// </summary>
    /// <exception cref="Exception">What the stream threw.</exception>
    internal async Task CopyAsync(Stream source)
    {
        // Not of a pool: a read that was given up may still write to it.
        var buffer = new byte[AheadBytes];
        try
        {
            while (!_disposed)
            {
                // On a thread of its own: some streams block where they should wait.
                Task<int> read = Task.Run(() => source.ReadAsync(buffer, _ended.Token).AsTask(), CancellationToken.None);
                if (await Task.WhenAny(read, _disposal.Task).ConfigureAwait(false) != read)
                {
                    await Task.WhenAny(read, Task.Delay(Settling, _time)).ConfigureAwait(false);
                    _ = read.ContinueWith(static late => _ = late.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
                    return;
                }

                int length = await read.ConfigureAwait(false);
                if (length == 0 || !await WriteAllAsync(buffer.AsMemory(0, length)).ConfigureAwait(false))
                {
                    return;
                }
            }
        }
        catch (OperationCanceledException exception)
        {
            if (!_disposed)
            {
                throw new IOException("The read was cancelled.", exception);
            }
        }
        finally
        {
            Dispose();
        }
    }

    public void Dispose()
    {
        _disposed = true;
        _registration.Dispose();
        _pipe.Dispose();
        _ = _ended.CancelAsync();
        _disposal.TrySetResult();
    }

    /// <returns>Whether all of it was written.</returns>
    private async ValueTask<bool> WriteAllAsync(ReadOnlyMemory<byte> data)
    {
        while (data.Length > 0 && !_disposed)
        {
            int written = Write(data.Span);
            if (written < 0)
            {
                return false;
            }

            data = data[written..];
            if (data.Length > 0)
            {
                await _registration.WaitAsync(SysEpoll.EPOLLOUT).ConfigureAwait(false);
            }
        }

        return data.Length == 0;
    }

    /// <returns>The number of bytes, 0 when the pipe is full, -1 when it has no reader.</returns>
    private unsafe int Write(ReadOnlySpan<byte> data)
    {
        fixed (byte* start = data)
        {
            while (true)
            {
                if (_pipe.IsClosed)
                {
                    return -1;
                }

                nint count = Unistd.write(_pipe, start, data.Length);
                if (count >= 0)
                {
                    return (int)count;
                }

                switch (Marshal.GetLastPInvokeError())
                {
                    case Errno.EINTR:
                        continue;
                    case Errno.EAGAIN:
                        return 0;
                    default:
                        return -1;
                }
            }
        }
    }
}
