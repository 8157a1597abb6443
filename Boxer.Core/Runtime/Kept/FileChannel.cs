using System.Net.Sockets;
using Boxer.Runtime.Init;

namespace Boxer.Runtime.Kept;

/// <summary>
/// Socket to one file worker. One thread may send while another reads. Failures, also those of the worker to keep to its protocol, are
/// <see cref="IOException"/>s.
/// </summary>
/// <param name="socket">Host's end of the socket. The channel disposes it.</param>
internal sealed class FileChannel(Socket socket) : IDisposable
{
    private readonly byte[] _received = new byte[InitProtocol.HeaderSize + InitProtocol.MaxPayload];
    private int _start;
    private int _end;

    /// <summary>Creates the exception for an answer that does not fit.</summary>
    /// <param name="reason">Description for the log.</param>
    /// <param name="inner">The cause, or <see langword="null"/>.</param>
    internal static IOException Violation(string reason, Exception? inner = null) =>
        new($"The file worker of the sandbox violated its protocol: {reason}", inner);

    /// <summary>Sends frames.</summary>
    /// <param name="frames">Whole frames.</param>
    /// <param name="cancellationToken">Cancels the send; the channel cannot be used afterwards.</param>
    /// <exception cref="IOException">The worker has ended.</exception>
    internal async Task SendAsync(ReadOnlyMemory<byte> frames, CancellationToken cancellationToken)
    {
        try
        {
            while (frames.Length > 0)
            {
                int sent = await socket.SendAsync(frames, SocketFlags.None, cancellationToken).ConfigureAwait(false);
                frames = frames[sent..];
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            throw Ended(exception);
        }
    }

    /// <summary>Reads the next answer.</summary>
    /// <param name="cancellationToken">Cancels the read; a later read continues it.</param>
    /// <exception cref="IOException">The worker has ended, or violated the protocol.</exception>
    internal async Task<FileAnswer> ReadAsync(CancellationToken cancellationToken)
    {
        try
        {
            await FillAsync(InitProtocol.HeaderSize, cancellationToken).ConfigureAwait(false);
            (InitFrameType type, int length) = InitProtocol.ReadHeader(_received.AsSpan(_start, InitProtocol.HeaderSize));
            await FillAsync(InitProtocol.HeaderSize + length, cancellationToken).ConfigureAwait(false);
            FileAnswer answer = FileAnswer.Decode(type, _received.AsMemory(_start + InitProtocol.HeaderSize, length));
            _start += InitProtocol.HeaderSize + length;
            return answer;
        }
        catch (InitProtocolException exception)
        {
            throw Violation(exception.Message, exception);
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            throw Ended(exception);
        }
    }

    /// <summary>Closes the socket. The worker ends; a pending read or send fails.</summary>
    public void Dispose() => socket.Dispose();

    private async Task FillAsync(int count, CancellationToken cancellationToken)
    {
        while (_end - _start < count)
        {
            if (_start > 0)
            {
                _received.AsSpan(_start, _end - _start).CopyTo(_received);
                _end -= _start;
                _start = 0;
            }

            int read = await socket.ReceiveAsync(_received.AsMemory(_end), SocketFlags.None, cancellationToken).ConfigureAwait(false);
            if (read == 0)
            {
                throw Ended(null);
            }

            _end += read;
        }
    }

    private static IOException Ended(Exception? inner) => new("The file worker of the sandbox has ended.", inner);
}
