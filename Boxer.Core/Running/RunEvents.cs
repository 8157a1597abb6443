using System.Runtime.InteropServices;
using System.Threading.Channels;

namespace Boxer.Running;

/// <summary>
/// The events of one run, from those who make them to the one who reads them. What is printed and not read yet is put together, so that a reader
/// that is slow costs no more than what it will read; nobody waits for it.
/// </summary>
/// <param name="isKept">
/// Whether the bytes of a stream are parts of one array that grows, which the result keeps: their offset there is their place in the stream.
/// Otherwise each event has an array that nobody else has.
/// </param>
internal sealed class RunEvents(bool isKept = true)
{
    // So that how the two streams alternate is kept for all but the slowest.
    private const int MostWaiting = 256;
    private const int MostBytes = 64 << 10;
    private readonly Lock _lock = new();
    private readonly LinkedList<SandboxEvent> _waiting = new();
    private readonly Channel<bool> _news = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite, SingleReader = true });

    /// <summary>Whether the command may have run: a sandbox was told to start it.</summary>
    internal bool MayHaveStarted { get; set; }

    /// <summary>Tells something.</summary>
    /// <param name="item">The event.</param>
    internal void Add(SandboxEvent item)
    {
        lock (_lock)
        {
            if (item is SandboxDataReceived output && FindLast(output.Stream) is { } last)
            {
                ReadOnlyMemory<byte> first = ((SandboxDataReceived)last.Value).Data;
                last.Value = new SandboxDataReceived(output.Stream, isKept ? From(first, output.Data) : Append(first, output.Data));
            }
            else if (item is SandboxImagePulling { Layer: { } layer } && FindUnread(layer.Digest) is { } unread)
            {
                unread.Value = item;
            }
            else
            {
                _waiting.AddLast(item);
            }
        }

        _news.Writer.TryWrite(true);
    }

    /// <summary>Nothing more comes.</summary>
    /// <param name="fault">What the reader is given instead.</param>
    internal void Complete(Exception? fault = null) => _news.Writer.Complete(fault);

    /// <summary>Reads them, once.</summary>
    internal async IAsyncEnumerable<SandboxEvent> ReadAllAsync()
    {
        bool isOpen;
        do
        {
            isOpen = await _news.Reader.WaitToReadAsync().ConfigureAwait(false);
            _news.Reader.TryRead(out _);
            while (Take() is { } item)
            {
                yield return item;
            }
        }
        while (isOpen);
    }

    private LinkedListNode<SandboxEvent>? FindLast(SandboxStream stream)
    {
        LinkedListNode<SandboxEvent>? node = _waiting.Last;
        while (_waiting.Count >= MostWaiting && node is not null && (node.Value as SandboxDataReceived)?.Stream != stream)
        {
            node = node.Previous;
        }

        return (node?.Value as SandboxDataReceived)?.Stream == stream ? node : null;
    }

    private LinkedListNode<SandboxEvent>? FindUnread(string layer)
    {
        LinkedListNode<SandboxEvent>? node = _waiting.Last;
        while (node is not null && (node.Value as SandboxImagePulling)?.Layer?.Digest != layer)
        {
            node = node.Previous;
        }

        return node;
    }

    private SandboxEvent? Take()
    {
        lock (_lock)
        {
            if (_waiting.First is not { } first)
            {
                return null;
            }

            if (first.Value is SandboxDataReceived { Data.Length: > MostBytes } output)
            {
                first.Value = new SandboxDataReceived(output.Stream, output.Data[MostBytes..]);
                return new SandboxDataReceived(output.Stream, output.Data[..MostBytes]);
            }

            _waiting.RemoveFirst();
            return first.Value;
        }
    }

    private static ReadOnlyMemory<byte> From(ReadOnlyMemory<byte> first, ReadOnlyMemory<byte> next)
    {
        MemoryMarshal.TryGetArray(first, out ArraySegment<byte> start);
        MemoryMarshal.TryGetArray(next, out ArraySegment<byte> end);
        return end.Array.AsMemory(start.Offset, end.Offset + end.Count - start.Offset);
    }

    // What was read before is in front of it, and the array behind it nobody else's.
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
