namespace Boxer.Runtime.Init;

/// <summary>Input of a relayed command or of a connection, within the window of PID 1. Concurrent writes mix if the window is full.</summary>
internal sealed class SessionInput
{
    private readonly SessionChannel _channel;
    private readonly int _id;
    private readonly Lock _gate = new();
    private TaskCompletionSource? _waiter;
    private int _room = InitProtocol.InputWindow;
    private bool _isOver;
    private bool _isComplete;

    internal SessionInput(SessionChannel channel, int id)
    {
        _channel = channel;
        _id = id;
    }

    /// <summary>Writes bytes, and waits until there was room for all of them.</summary>
    /// <param name="data">The bytes; they are copied.</param>
    /// <param name="cancellationToken">Cancels the wait. Of more than <see cref="InitProtocol.WholeInput"/> bytes, a part may be written.</param>
    /// <returns>Whether all bytes were written; <see langword="false"/> after the end.</returns>
    internal async ValueTask<bool> WriteAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        bool isWhole = data.Length <= InitProtocol.WholeInput;
        while (data.Length > 0)
        {
            cancellationToken.ThrowIfCancellationRequested();
            int count = TryReserve(data.Length, isWhole, out Task? more);
            if (count < 0)
            {
                return false;
            }

            if (count == 0)
            {
                await more!.WaitAsync(cancellationToken).ConfigureAwait(false);
                continue;
            }

            byte[] bytes = SessionEncoder.EncodeInput(_id, data.Span[..count]);
            _channel.Post(new SessionFrame(conversation => conversation.Input(_id, count) ? bytes : null));
            data = data[count..];
        }

        return true;
    }

    /// <summary>Ends the input: writes that wait end too.</summary>
    internal void Complete()
    {
        lock (_gate)
        {
            if (_isComplete || _isOver)
            {
                return;
            }

            _isComplete = true;
            Wake();
        }

        byte[] bytes = SessionEncoder.EncodeId(InitFrameType.InputEnd, _id);
        _channel.Post(new SessionFrame(conversation => conversation.IsOpen(_id) ? bytes : null));
    }

    /// <summary>Records that PID 1 took bytes.</summary>
    internal void Taken(int bytes)
    {
        lock (_gate)
        {
            _room += bytes;
            Wake();
        }
    }

    /// <summary>Records that the command or connection is over.</summary>
    internal void End()
    {
        lock (_gate)
        {
            _isOver = true;
            Wake();
        }
    }

    private void Wake()
    {
        _waiter?.TrySetResult();
        _waiter = null;
    }

    /// <returns>Number of bytes that can be sent, 0 if the window is full, -1 after the end.</returns>
    private int TryReserve(int wanted, bool isWhole, out Task? more)
    {
        more = null;
        lock (_gate)
        {
            if (_isOver || _isComplete)
            {
                return -1;
            }

            int count = isWhole && wanted > _room ? 0 : Math.Min(Math.Min(wanted, _room), SessionEncoder.MaxInput);
            _room -= count;
            if (count == 0)
            {
                _waiter ??= new(TaskCreationOptions.RunContinuationsAsynchronously);
                more = _waiter.Task;
            }

            return count;
        }
    }
}
