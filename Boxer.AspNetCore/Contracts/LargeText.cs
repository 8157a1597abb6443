using System.Buffers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Boxer.AspNetCore.Contracts;

/// <summary>A text of a response that is written in pieces, so that memory never holds a second copy of it.</summary>
[JsonConverter(typeof(LargeTextConverter))]
internal abstract class LargeText
{
    /// <summary>Writes the next piece.</summary>
    /// <returns>Whether there are further pieces.</returns>
    public abstract bool WriteNext(Utf8JsonWriter writer);

    internal sealed class LargeTextConverter : JsonConverter<LargeText>
    {
        public override LargeText Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => throw new NotSupportedException();

        public override void Write(Utf8JsonWriter writer, LargeText value, JsonSerializerOptions options)
        {
            while (value.WriteNext(writer))
            {
            }
        }
    }
}

/// <summary>Output of a command. Bytes that are not valid UTF-8 are replaced by U+FFFD. It can be written once.</summary>
/// <param name="pieces">The bytes.</param>
/// <param name="tail">Text of the host behind the output.</param>
internal sealed class PrintedText(IReadOnlyList<ReadOnlyMemory<byte>> pieces, string tail = "") : LargeText
{
    private const int PieceBytes = 16 << 10;
    private readonly Decoder _decoder = Encoding.UTF8.GetDecoder();
    private int _piece;
    private int _at;

    public PrintedText(ReadOnlyMemory<byte> bytes, string tail = "")
        : this([bytes], tail)
    {
    }

    public override bool WriteNext(Utf8JsonWriter writer)
    {
        if (_piece == pieces.Count)
        {
            WriteDecoded(writer, [], flush: true);
            writer.WriteStringValueSegment(tail, isFinalSegment: true);
            return false;
        }

        ReadOnlySpan<byte> bytes = pieces[_piece].Span[_at..];
        bytes = bytes[..Math.Min(bytes.Length, PieceBytes)];
        WriteDecoded(writer, bytes, flush: false);
        _at += bytes.Length;
        if (_at == pieces[_piece].Length)
        {
            _piece++;
            _at = 0;
        }

        return true;
    }

    private void WriteDecoded(Utf8JsonWriter writer, ReadOnlySpan<byte> bytes, bool flush)
    {
        char[] characters = ArrayPool<char>.Shared.Rent(Encoding.UTF8.GetMaxCharCount(bytes.Length));
        try
        {
            writer.WriteStringValueSegment(characters.AsSpan(0, _decoder.GetChars(bytes, characters, flush)), isFinalSegment: false);
        }
        finally
        {
            ArrayPool<char>.Shared.Return(characters);
        }
    }
}

/// <summary>Bytes in base64. They can be written once.</summary>
internal sealed class Base64Text(ReadOnlyMemory<byte> bytes) : LargeText
{
    private const int PieceBytes = 48 << 10;
    private int _at;

    public override bool WriteNext(Utf8JsonWriter writer)
    {
        ReadOnlySpan<byte> piece = bytes.Span[_at..];
        piece = piece[..Math.Min(piece.Length, PieceBytes)];
        _at += piece.Length;
        bool last = _at == bytes.Length;
        writer.WriteBase64StringSegment(piece, last);
        return !last;
    }
}
