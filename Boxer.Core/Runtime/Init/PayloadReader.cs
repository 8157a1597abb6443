using System.Buffers.Binary;
using Boxer.Common;

namespace Boxer.Runtime.Init;

/// <summary>Reads the fields of a frame of PID 1. Each read throws <see cref="InitProtocolException"/> if the field is missing or out of range.</summary>
internal ref struct PayloadReader(ReadOnlySpan<byte> payload, InitFrameType type)
{
    private ReadOnlySpan<byte> _rest = payload;

    internal int Number(string field, int min, int max)
    {
        uint value = BinaryPrimitives.ReadUInt32LittleEndian(Take(4, field));
        return value >= min && value <= max ? (int)value : throw Bad(field);
    }

    internal uint UnsignedNumber(string field) => BinaryPrimitives.ReadUInt32LittleEndian(Take(4, field));

    internal long LongNumber(string field, long max)
    {
        ulong value = BinaryPrimitives.ReadUInt64LittleEndian(Take(8, field));
        return value <= (ulong)max ? (long)value : throw Bad(field);
    }

    /// <summary>Reads microseconds. The sum of two durations is in the range of .NET.</summary>
    internal TimeSpan Duration(string field) =>
        new(LongNumber(field, long.MaxValue / TimeSpan.TicksPerMicrosecond / 2) * TimeSpan.TicksPerMicrosecond);

    internal T Enumeration<T>(string field)
        where T : struct, Enum
    {
        uint value = BinaryPrimitives.ReadUInt32LittleEndian(Take(4, field));
        var result = (T)Enum.ToObject(typeof(T), value);
        return Enum.IsDefined(result) ? result : throw Bad(field);
    }

    internal uint Mode() => (uint)Number("mode", 0, 0x1FF);

    // A command can set any time. A time outside of the range of .NET becomes the nearest one in it.
    internal DateTimeOffset Time()
    {
        long seconds = BinaryPrimitives.ReadInt64LittleEndian(Take(8, "time"));
        int nanoseconds = Number("nanoseconds", 0, 999_999_999);
        long most = DateTimeOffset.MaxValue.ToUnixTimeSeconds();
        return DateTimeOffset.FromUnixTimeSeconds(Math.Clamp(seconds, DateTimeOffset.MinValue.ToUnixTimeSeconds(), most)).AddTicks(nanoseconds / TimeSpan.NanosecondsPerTick);
    }

    internal string Text(string field, int max)
    {
        uint length = BinaryPrimitives.ReadUInt32LittleEndian(Take(4, field));
        if (length > max)
        {
            throw Bad(field);
        }

        ReadOnlySpan<byte> bytes = Take((int)length + 1, field);
        if (bytes.IndexOf((byte)0) != bytes.Length - 1)
        {
            throw Bad(field);
        }

        return UntrustedText.TryDecode(bytes[..^1], out string? text) ? text : throw Bad(field);
    }

    internal string OutputPath()
    {
        string path = Text("path", CleanPath.MaxBytes);
        return CleanPath.TryParse(path, PathKind.InDirectory, out _) == PathFaults.None ? path : throw Bad("path");
    }

    /// <summary>Verifies that the payload has no more bytes.</summary>
    internal readonly void End()
    {
        if (!_rest.IsEmpty)
        {
            throw new InitProtocolException($"PID 1 sent a {type} frame with {_rest.Length} bytes too many.");
        }
    }

    private ReadOnlySpan<byte> Take(int count, string field)
    {
        if (_rest.Length < count)
        {
            throw new InitProtocolException($"PID 1 sent a {type} frame that ends within its {field}.");
        }

        ReadOnlySpan<byte> taken = _rest[..count];
        _rest = _rest[count..];
        return taken;
    }

    private readonly InitProtocolException Bad(string field) => new($"PID 1 sent a {type} frame with a {field} that is not allowed.");
}
