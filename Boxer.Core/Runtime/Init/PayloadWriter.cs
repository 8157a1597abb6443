using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace Boxer.Runtime.Init;

/// <summary>Writes the fields of a frame to PID 1.</summary>
internal sealed class PayloadWriter
{
    private readonly ArrayBufferWriter<byte> _buffer = new(1024);

    internal PayloadWriter()
    {
        _buffer.GetSpan(InitProtocol.HeaderSize)[..InitProtocol.HeaderSize].Clear();
        _buffer.Advance(InitProtocol.HeaderSize);
    }

    internal void U32(uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(_buffer.GetSpan(4), value);
        _buffer.Advance(4);
    }

    internal void U64(ulong value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(_buffer.GetSpan(8), value);
        _buffer.Advance(8);
    }

    internal void Bytes(ReadOnlySpan<byte> value)
    {
        U32((uint)value.Length);
        _buffer.Write(value);
    }

    /// <summary>Writes bytes without their length.</summary>
    internal void Raw(ReadOnlySpan<byte> value) => _buffer.Write(value);

    // The NUL at the end lets PID 1 use the text in place.
    internal void Text(string value)
    {
        if (value.Contains('\0'))
        {
            throw new ArgumentException("A string contains a NUL character.", nameof(value));
        }

        int count = Encoding.UTF8.GetByteCount(value);
        U32((uint)count);
        Span<byte> span = _buffer.GetSpan(count + 1);
        Encoding.UTF8.GetBytes(value, span);
        span[count] = 0;
        _buffer.Advance(count + 1);
    }

    /// <summary>Gets the frame with its header.</summary>
    /// <exception cref="ArgumentException">The payload is longer than its maximum.</exception>
    internal byte[] ToFrame(InitFrameType type, int maxPayload)
    {
        int length = _buffer.WrittenCount - InitProtocol.HeaderSize;
        if (length > maxPayload)
        {
            throw new ArgumentException($"The {type} frame takes {length} bytes; at most {maxPayload} are allowed.");
        }

        byte[] frame = _buffer.WrittenSpan.ToArray();
        InitProtocol.WriteHeader(frame, type, length);
        return frame;
    }
}
