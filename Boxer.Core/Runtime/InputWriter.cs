using System.Runtime.InteropServices;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime;

/// <summary>Writes the standard input of a command into its pipe, then closes it. A command that does not read is no fault.</summary>
internal sealed class InputWriter : IDisposable
{
    private readonly SafeFileHandle _pipe;
    private readonly DescriptorPoller.Registration _registration;
    private volatile bool _disposed;

    internal InputWriter(DescriptorPoller poller, SafeFileHandle pipe)
    {
        _pipe = pipe;
        _registration = poller.Register(pipe);
    }

    /// <summary>Completes when everything was written, or the reader is gone, or this was disposed.</summary>
    internal async Task WriteAsync(ReadOnlyMemory<byte> data)
    {
        try
        {
            while (data.Length > 0 && !_disposed)
            {
                int written = Write(data.Span);
                if (written < 0)
                {
                    return;
                }

                data = data[written..];
                if (data.Length > 0)
                {
                    await _registration.WaitAsync(SysEpoll.EPOLLOUT).ConfigureAwait(false);
                }
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
