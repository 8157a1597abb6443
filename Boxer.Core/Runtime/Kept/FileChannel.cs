using System.Net.Sockets;
using Boxer.Runtime.Init;

namespace Boxer.Runtime.Kept;

/// <summary>
/// Socket to one file worker. One thread may send while another reads. Failures, also those of the worker to keep to its protocol, are
/// <see cref="IOException"/>s.
/// </summary>
internal sealed class FileChannel : IDisposable
{
    /// <summary>
    /// Time of the worker to send an answer that it owes, and to take a part of what the host sends. One that is silent for longer has been stopped by the
    /// guest, and cannot be used further.
    /// </summary>
    internal static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);
    private readonly Socket _socket;
    private readonly CommandClock _clock;
    private readonly Action _onSilent;

    // One for each direction. They run only while somebody waits.
    private readonly CommandClock.Limit _receiving;
    private readonly CommandClock.Limit _sending;
    private volatile bool _isSilent;
    private readonly byte[] _received = new byte[InitProtocol.HeaderSize + InitProtocol.MaxPayload];
    private int _start;
    private int _end;

    /// <param name="socket">Host's end of the socket. The channel disposes it.</param>
    /// <param name="clock">The clock of the sandbox, which stands still while it is frozen.</param>
    /// <param name="onSilent">Called when the worker was silent for too long. The channel is then closed.</param>
    internal FileChannel(Socket socket, CommandClock clock, Action onSilent)
    {
        _socket = socket;
        _clock = clock;
        _onSilent = onSilent;
        _receiving = StartLimit(null);
        _sending = StartLimit(null);
    }

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
                int sent = await WithinAsync(_socket.SendAsync(frames, SocketFlags.None, cancellationToken), _sending, Patience).ConfigureAwait(false);
                frames = frames[sent..];
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            throw Ended(exception);
        }
    }

    /// <summary>Reads the next answer, which the worker owes.</summary>
    /// <param name="cancellationToken">Cancels the read; a later read continues it.</param>
    /// <exception cref="IOException">The worker has ended, was silent for too long, or violated the protocol.</exception>
    internal Task<FileAnswer> ReadAsync(CancellationToken cancellationToken) => ReadAsync(Patience, cancellationToken);

    /// <summary>Reads the next answer.</summary>
    /// <param name="patience">Time of the worker; <see langword="null"/>: it owes no answer.</param>
    /// <param name="cancellationToken">Cancels the read; a later read continues it.</param>
    /// <exception cref="IOException">The worker has ended, was silent for too long, or violated the protocol.</exception>
    internal async Task<FileAnswer> ReadAsync(TimeSpan? patience, CancellationToken cancellationToken)
    {
        try
        {
            await FillAsync(InitProtocol.HeaderSize, patience, cancellationToken).ConfigureAwait(false);
            (InitFrameType type, int length) = InitProtocol.ReadHeader(_received.AsSpan(_start, InitProtocol.HeaderSize));
            await FillAsync(InitProtocol.HeaderSize + length, patience ?? Patience, cancellationToken).ConfigureAwait(false);
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

    /// <summary>Waits for an answer whose read began before the worker owed it.</summary>
    /// <param name="answer">The read.</param>
    internal async Task<FileAnswer> ExpectAsync(Task<FileAnswer> answer)
    {
        using CommandClock.Limit limit = StartLimit(answer.IsCompleted ? null : Patience);
        return await answer.ConfigureAwait(false);
    }

    /// <summary>Closes the socket. The worker ends; a pending read or send fails.</summary>
    public void Dispose()
    {
        _socket.Dispose();
        _receiving.Dispose();
        _sending.Dispose();
    }

    private CommandClock.Limit StartLimit(TimeSpan? patience)
    {
        CommandClock.Limit limit = _clock.Start(patience);
        _ = limit.Token.UnsafeRegister(
            static state =>
            {
                var channel = (FileChannel)state!;
                channel._isSilent = true;
                channel._onSilent();
            },
            this);
        return limit;
    }

    private static async ValueTask<int> WithinAsync(ValueTask<int> transfer, CommandClock.Limit limit, TimeSpan? patience)
    {
        if (transfer.IsCompleted || patience is null)
        {
            return await transfer.ConfigureAwait(false);
        }

        limit.Restart(patience);
        try
        {
            return await transfer.ConfigureAwait(false);
        }
        finally
        {
            limit.Restart(null);
        }
    }

    private async Task FillAsync(int count, TimeSpan? patience, CancellationToken cancellationToken)
    {
        while (_end - _start < count)
        {
            if (_start > 0)
            {
                _received.AsSpan(_start, _end - _start).CopyTo(_received);
                _end -= _start;
                _start = 0;
            }

            int read = await WithinAsync(_socket.ReceiveAsync(_received.AsMemory(_end), SocketFlags.None, cancellationToken), _receiving, patience).ConfigureAwait(false);
            if (read == 0)
            {
                throw Ended(null);
            }

            _end += read;
        }
    }

    private IOException Ended(Exception? inner) =>
        new(_isSilent ? "The file worker of the sandbox did not answer in time." : "The file worker of the sandbox has ended.", inner);
}
