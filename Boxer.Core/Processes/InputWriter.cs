using System.Runtime.InteropServices;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Processes;

/// <summary>Writes the standard input of a command into its pipe, then closes it. A command that does not read its input is not an error.</summary>
internal sealed class InputWriter : IDisposable
{
    private const int AheadBytes = 64 << 10;

    // Time for a cancelled read to end, so that the caller can use the stream again.
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

    /// <summary>Writes all of the input. Completes early if the pipe has no reader any more or this writer is disposed.</summary>
    /// <param name="data">Input of the command.</param>
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
    /// Writes a stream, read no faster than the command reads its input. Completes early like <see cref="WriteAsync"/>. When this writer is
    /// disposed, a pending read is cancelled; a read that ignores its cancellation token is abandoned.
    /// </summary>
    /// <param name="source">Stream to read; it is not disposed.</param>
    /// <exception cref="Exception">Any exception of the stream.</exception>
    internal async Task CopyAsync(Stream source)
    {
        // Not from a pool: an abandoned read may still write to it.
        var buffer = new byte[AheadBytes];
        try
        {
            while (!_disposed)
            {
                // On another thread: some streams block instead of waiting asynchronously. A read that has not begun when this writer is disposed never
                // begins.
                Task<int> read = Task.Run(() => source.ReadAsync(buffer, _ended.Token).AsTask(), _ended.Token);
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

    /// <returns>Number of bytes, 0 if the pipe is full, -1 if it has no reader.</returns>
    private int Write(ReadOnlySpan<byte> data)
    {
        if (_pipe.IsClosed)
        {
            return -1;
        }

        int count = Unistd.Write(_pipe, data);
        return count < 0 && Marshal.GetLastPInvokeError() == Errno.EAGAIN ? 0 : count;
    }
}
