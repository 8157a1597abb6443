namespace Boxer.Runtime.Init;

/// <summary>
/// Relayed output that was not read yet, in the order of its arrival. Credit bounds it: PID 1 gets a window for each stream, and more as the bytes are read.
/// One reader at a time.
/// </summary>
internal sealed class SessionOutputQueue
{
    /// <summary>Maximum number of bytes of a stream that wait here or are on their way.</summary>
    internal const int Window = 128 << 10;

    // A guest that prints byte by byte would otherwise cost an array for each.
    private const int MaxMerged = 8 << 10;
    private readonly SessionChannel _channel;
    private readonly int _id;
    private readonly Lock _gate = new();
    private readonly Queue<Chunk> _chunks = new();

    // Credit of each stream that is not given yet, and whether a frame for it is queued.
    private readonly int[] _owed = [Window, Window];
    private readonly bool[] _isQueued = new bool[2];
    private Chunk? _last;
    private TaskCompletionSource? _waiter;
    private bool _isComplete;

    internal SessionOutputQueue(SessionChannel channel, int id)
    {
        _channel = channel;
        _id = id;
    }

    /// <summary>Gives the credit that a stream is owed. The frame has the amount of the time when it is sent, so that a PID 1 that does not read gets no more.</summary>
    internal void GiveCredit(SessionStream stream)
    {
        int index = (int)stream - 1;
        lock (_gate)
        {
            // The frame of another call may have given it meanwhile.
            if (_isQueued[index] || _isComplete || _owed[index] == 0)
            {
                return;
            }

            _isQueued[index] = true;
        }

        _channel.Post(new SessionFrame(conversation =>
        {
            lock (_gate)
            {
                int bytes = _owed[index];
                (_owed[index], _isQueued[index]) = (0, false);
                return conversation.Credit(_id, stream, bytes) ? SessionEncoder.EncodeCredit(_id, stream, bytes) : null;
            }
        }));
    }

    /// <summary>Adds output.</summary>
    internal void Add(SessionStream stream, ReadOnlySpan<byte> data)
    {
        lock (_gate)
        {
            if (_isComplete)
            {
                return;
            }

            if (_last is not null && _last.Stream == stream && _last.End + data.Length <= MaxMerged)
            {
                _last.Append(data);
            }
            else
            {
                _last = new Chunk(stream, data.ToArray());
                _chunks.Enqueue(_last);
            }

            _waiter?.TrySetResult();
        }
    }

    /// <summary>Records that no more output comes.</summary>
    internal void Complete()
    {
        lock (_gate)
        {
            _isComplete = true;
            _waiter?.TrySetResult();
        }
    }

    /// <summary>Reads the next chunk, whose bytes do not change.</summary>
    /// <returns>The chunk; empty at the end.</returns>
    internal async ValueTask<(SessionStream Stream, ReadOnlyMemory<byte> Data)> ReadAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            if (TryTake(int.MaxValue, out SessionStream stream, out ReadOnlyMemory<byte> data, out Task? more))
            {
                return (stream, data);
            }

            await more.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Reads the next bytes of any stream.</summary>
    /// <returns>Number of bytes; 0 at the end.</returns>
    internal async ValueTask<int> ReadAsync(Memory<byte> destination, CancellationToken cancellationToken)
    {
        while (true)
        {
            if (TryTake(destination.Length, out _, out ReadOnlyMemory<byte> data, out Task? more))
            {
                data.CopyTo(destination);
                return data.Length;
            }

            await more.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Reads and drops everything, to the end.</summary>
    internal async Task DiscardAsync()
    {
        while (!(await ReadAsync(CancellationToken.None).ConfigureAwait(false)).Data.IsEmpty)
        {
        }
    }

    private bool TryTake(int max, out SessionStream stream, out ReadOnlyMemory<byte> data, [System.Diagnostics.CodeAnalysis.NotNullWhen(false)] out Task? more)
    {
        (stream, data, more) = (SessionStream.Output, default, null);
        bool isCreditDue;
        lock (_gate)
        {
            if (!_chunks.TryPeek(out Chunk? chunk))
            {
                _waiter = _isComplete ? null : new(TaskCreationOptions.RunContinuationsAsynchronously);
                more = _waiter?.Task;
                return _isComplete;
            }

            stream = chunk.Stream;
            data = chunk.Take(max);
            if (chunk.IsEmpty)
            {
                _chunks.Dequeue();
            }

            // A chunk that was taken does not change any more.
            _last = ReferenceEquals(_last, chunk) ? null : _last;
            isCreditDue = (_owed[(int)stream - 1] += data.Length) >= Window / 2;
        }

        if (isCreditDue)
        {
            GiveCredit(stream);
        }

        return true;
    }

    private sealed class Chunk(SessionStream stream, byte[] data)
    {
        private byte[] _data = data;
        private int _start;

        internal SessionStream Stream { get; } = stream;

        internal int End { get; private set; } = data.Length;

        internal bool IsEmpty => _start == End;

        internal void Append(ReadOnlySpan<byte> more)
        {
            if (End + more.Length > _data.Length)
            {
                Array.Resize(ref _data, Math.Max(End + more.Length, Math.Min(MaxMerged, 2 * _data.Length)));
            }

            more.CopyTo(_data.AsSpan(End));
            End += more.Length;
        }

        internal ReadOnlyMemory<byte> Take(int max)
        {
            ReadOnlyMemory<byte> taken = _data.AsMemory(_start, Math.Min(max, End - _start));
            _start += taken.Length;
            return taken;
        }
    }
}
