using System.Runtime.CompilerServices;

namespace Boxer.Sessions;

/// <summary>A part of the output of a process.</summary>
/// <param name="Offset">Offset of the first byte, counted over all streams of the process together.</param>
/// <param name="Stream">The stream.</param>
/// <param name="Data">The bytes, at least one.</param>
internal readonly record struct HistoryPiece(long Offset, SandboxStream Stream, ReadOnlyMemory<byte> Data);

/// <summary>
/// The last output of a process; older bytes are dropped. Any number of readers can attach at an offset. A slow reader delays neither the process nor
/// other readers: it misses the bytes that were dropped. Thread-safe.
/// </summary>
/// <param name="maxBytes">Maximum number of bytes that are kept.</param>
internal sealed class ProcessHistory(int maxBytes)
{
    // A guest that alternates between its streams must not take more memory for the pieces than for the bytes.
    private const int MaxPieces = 16_384;
    private const int FirstCapacity = 4_096;
    private const int MaxRead = 64 << 10;
    private readonly Lock _lock = new();

    // Each piece ends where the next begins. Those before _head are dropped.
    private readonly List<(long Start, SandboxStream Stream)> _pieces = [];
    private int _head;

    // A ring: a byte is at its offset modulo the capacity, which is a power of two.
    private byte[] _ring = [];
    private long _first;
    private long _end;
    private bool _hasEnded;
    private TaskCompletionSource? _changed;

    /// <summary>Appends output.</summary>
    /// <param name="stream">The stream.</param>
    /// <param name="data">The bytes; copied.</param>
    internal void Append(SandboxStream stream, ReadOnlySpan<byte> data)
    {
        if (data.IsEmpty)
        {
            return;
        }

        TaskCompletionSource? changed;
        lock (_lock)
        {
            DropBefore(_end + data.Length - maxBytes);
            ReadOnlySpan<byte> kept = data[Math.Max(0, data.Length - maxBytes)..];
            _end += data.Length - kept.Length;
            AddPiece(stream);
            Grow(_end - _first + kept.Length);
            Write(kept);
            _end += kept.Length;
            (changed, _changed) = (_changed, null);
        }

        changed?.TrySetResult();
    }

    /// <summary>Number of bytes that are kept.</summary>
    internal long KeptBytes
    {
        get
        {
            lock (_lock)
            {
                return _end - _first;
            }
        }
    }

    /// <summary>Drops all bytes. Offsets stay.</summary>
    internal void Clear()
    {
        lock (_lock)
        {
            DropBefore(_end);
            _ring = [];
        }
    }

    /// <summary>Ends the output. Readers end when they have read the rest.</summary>
    internal void End()
    {
        TaskCompletionSource? changed;
        lock (_lock)
        {
            _hasEnded = true;
            (changed, _changed) = (_changed, null);
        }

        changed?.TrySetResult();
    }

    /// <summary>Reads the output from an offset to its end.</summary>
    /// <param name="fromOffset">The offset. Reading begins at the oldest kept byte if it is older. Output up to an offset beyond the end is skipped.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    internal async IAsyncEnumerable<HistoryPiece> ReadAsync(long fromOffset, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        long offset = fromOffset;
        while (true)
        {
            HistoryPiece? piece;
            Task? changed = null;
            lock (_lock)
            {
                piece = Take(offset);
                if (piece is null && !_hasEnded)
                {
                    changed = (_changed ??= new(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
                }
            }

            if (piece is { } found)
            {
                offset = found.Offset + found.Data.Length;
                yield return found;
            }
            else if (changed is null)
            {
                yield break;
            }
            else
            {
                await changed.WaitAsync(cancellationToken).ConfigureAwait(false);
            }

            cancellationToken.ThrowIfCancellationRequested();
        }
    }

    private HistoryPiece? Take(long offset)
    {
        offset = Math.Max(offset, _first);
        if (offset >= _end)
        {
            return null;
        }

        int index = Find(offset);
        long end = index + 1 < _pieces.Count ? _pieces[index + 1].Start : _end;
        var data = new byte[(int)Math.Min(end - offset, MaxRead)];
        var place = (int)(offset & (_ring.Length - 1));
        int straight = Math.Min(data.Length, _ring.Length - place);
        _ring.AsSpan(place, straight).CopyTo(data);
        _ring.AsSpan(0, data.Length - straight).CopyTo(data.AsSpan(straight));
        return new HistoryPiece(offset, _pieces[index].Stream, data);
    }

    // The last piece that does not begin after the offset.
    private int Find(long offset)
    {
        (int low, int high) = (_head, _pieces.Count - 1);
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            (low, high) = _pieces[middle].Start <= offset ? (middle, high) : (low, middle - 1);
        }

        return low;
    }

    private void AddPiece(SandboxStream stream)
    {
        if (_pieces.Count > _head && _pieces[^1].Stream == stream)
        {
            return;
        }

        if (_pieces.Count - _head == MaxPieces)
        {
            DropBefore(_pieces[_head + 1].Start);
        }

        _pieces.Add((_end, stream));
    }

    private void DropBefore(long offset)
    {
        if (offset <= _first)
        {
            return;
        }

        _first = offset;
        while (_head < _pieces.Count && (_head + 1 < _pieces.Count ? _pieces[_head + 1].Start : _end) <= offset)
        {
            _head++;
        }

        if (_head > MaxPieces || _head == _pieces.Count)
        {
            _pieces.RemoveRange(0, _head);
            _head = 0;
        }
    }

    private void Grow(long needed)
    {
        int capacity = Math.Max(_ring.Length, FirstCapacity);
        while (capacity < needed)
        {
            capacity *= 2;
        }

        if (capacity == _ring.Length)
        {
            return;
        }

        var ring = new byte[capacity];
        for (long offset = _first; offset < _end;)
        {
            var from = (int)(offset & (_ring.Length - 1));
            var to = (int)(offset & (capacity - 1));
            var length = (int)Math.Min(_end - offset, Math.Min(_ring.Length - from, capacity - to));
            _ring.AsSpan(from, length).CopyTo(ring.AsSpan(to));
            offset += length;
        }

        _ring = ring;
    }

    private void Write(ReadOnlySpan<byte> data)
    {
        var place = (int)(_end & (_ring.Length - 1));
        int straight = Math.Min(data.Length, _ring.Length - place);
        data[..straight].CopyTo(_ring.AsSpan(place));
        data[straight..].CopyTo(_ring);
    }
}
