using System.Runtime.InteropServices;
using System.Threading.Channels;

namespace Boxer.Running;

/// <summary>
/// Queue of the events of one run, with many writers and one reader. Unread output is merged, so that a slow reader takes no more memory than the
/// output itself, and writers never wait for it.
/// </summary>
/// <param name="isKept">
/// Whether the bytes of a stream are parts of one growing array, which the result keeps: their offset there is their place in the stream.
/// Otherwise each event has an array of its own.
/// </param>
internal sealed class RunEvents(bool isKept = true)
{
    // Up to this number of unread events, the order of standard output and error is kept. Beyond it, output joins the last event of its stream.
    private const int MaxInOrder = 256;
    private const int MaxEventBytes = 64 << 10;
    private readonly Lock _lock = new();
    private readonly LinkedList<SandboxEvent> _unread = new();
    private readonly Channel<bool> _changes = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite, SingleReader = true });

    /// <summary>Whether the command may have run: the start was sent to a sandbox.</summary>
    internal bool MayHaveStarted { get; set; }

    /// <summary>Adds an event.</summary>
    /// <param name="item">The event.</param>
    internal void Add(SandboxEvent item)
    {
        lock (_lock)
        {
            if (item is SandboxDataReceived output && FindLast(output.Stream) is { } last)
            {
                ReadOnlyMemory<byte> first = ((SandboxDataReceived)last.Value).Data;
                last.Value = new SandboxDataReceived(output.Stream, isKept ? Extend(first, output.Data) : Append(first, output.Data));
            }
            else if (item is SandboxImagePulling { Layer: { } layer } && FindLayer(layer.Digest) is { } unread)
            {
                unread.Value = item;
            }
            else
            {
                _unread.AddLast(item);
            }
        }

        _changes.Writer.TryWrite(true);
    }

    /// <summary>Ends the queue.</summary>
    /// <param name="fault">The exception that the reader gets after the events; <see langword="null"/>: none.</param>
    internal void Complete(Exception? fault = null) => _changes.Writer.Complete(fault);

    /// <summary>Reads the events. Call it once.</summary>
    internal async IAsyncEnumerable<SandboxEvent> ReadAllAsync()
    {
        bool isOpen;
        do
        {
            isOpen = await _changes.Reader.WaitToReadAsync().ConfigureAwait(false);
            _changes.Reader.TryRead(out _);
            while (Take() is { } item)
            {
                yield return item;
            }
        }
        while (isOpen);
    }

    private LinkedListNode<SandboxEvent>? FindLast(SandboxStream stream)
    {
        LinkedListNode<SandboxEvent>? node = _unread.Last;
        while (_unread.Count >= MaxInOrder && node is not null && (node.Value as SandboxDataReceived)?.Stream != stream)
        {
            node = node.Previous;
        }

        return (node?.Value as SandboxDataReceived)?.Stream == stream ? node : null;
    }

    private LinkedListNode<SandboxEvent>? FindLayer(string digest)
    {
        LinkedListNode<SandboxEvent>? node = _unread.Last;
        while (node is not null && (node.Value as SandboxImagePulling)?.Layer?.Digest != digest)
        {
            node = node.Previous;
        }

        return node;
    }

    private SandboxEvent? Take()
    {
        lock (_lock)
        {
            if (_unread.First is not { } first)
            {
                return null;
            }

            if (first.Value is SandboxDataReceived { Data.Length: > MaxEventBytes } output)
            {
                first.Value = new SandboxDataReceived(output.Stream, output.Data[MaxEventBytes..]);
                return new SandboxDataReceived(output.Stream, output.Data[..MaxEventBytes]);
            }

            _unread.RemoveFirst();
            return first.Value;
        }
    }

    private static ReadOnlyMemory<byte> Extend(ReadOnlyMemory<byte> first, ReadOnlyMemory<byte> next)
    {
        MemoryMarshal.TryGetArray(first, out ArraySegment<byte> start);
        MemoryMarshal.TryGetArray(next, out ArraySegment<byte> end);
        return end.Array.AsMemory(start.Offset, end.Offset + end.Count - start.Offset);
    }

    // The array may have bytes in front that were read before. The bytes behind belong to nobody else.
    private static ReadOnlyMemory<byte> Append(ReadOnlyMemory<byte> first, ReadOnlyMemory<byte> next)
    {
        MemoryMarshal.TryGetArray(first, out ArraySegment<byte> segment);
        (byte[] array, int offset) = (segment.Array!, segment.Offset);
        int length = first.Length + next.Length;
        if (array.Length - offset < length)
        {
            array = new byte[(int)Math.Min(Math.Max(2L * first.Length, length), Array.MaxLength)];
            offset = 0;
            first.CopyTo(array);
        }

        next.CopyTo(array.AsMemory(offset + first.Length));
        return array.AsMemory(offset, length);
    }
}
