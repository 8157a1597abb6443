using System.Buffers;
using System.Text;
using System.Text.Unicode;

namespace Boxer.AspNetCore.Sessions;

/// <summary>
/// Divides the output of a process into pieces of text. A character at the end of a piece waits for its other bytes, and the offset behind the piece is
/// then before the character: a client that attaches again at this offset gets the whole character.
/// </summary>
internal sealed class ProcessText
{
    private const int MaxPieceBytes = 64 << 10;

    private SandboxProcessOutput? _held;

    /// <summary>Adds output.</summary>
    /// <returns>The pieces that are complete.</returns>
    public IEnumerable<SandboxProcessOutput> Add(SandboxProcessOutput output)
    {
        if (_held is { } held)
        {
            _held = null;
            if (held.Stream == output.Stream && held.EndOffset == output.Offset)
            {
                output = new(held.Offset, held.Stream, (byte[])[.. held.Data.Span, .. output.Data.Span]);
            }
            else
            {
                yield return held;
            }
        }

        int at = 0;
        while (at < output.Data.Length)
        {
            ReadOnlyMemory<byte> piece = output.Data[at..];
            bool isLast = piece.Length <= MaxPieceBytes;
            piece = isLast ? piece : piece[..MaxPieceBytes];
            int incomplete = CountIncomplete(piece.Span);
            if (incomplete < piece.Length)
            {
                yield return new(output.Offset + at, output.Stream, piece[..^incomplete]);
            }

            if (isLast && incomplete > 0)
            {
                _held = new(output.Offset + at + piece.Length - incomplete, output.Stream, piece[^incomplete..]);
                yield break;
            }

            at += piece.Length - incomplete;
        }
    }

    /// <summary>Gets the bytes that still wait; <see langword="null"/> if there are none.</summary>
    public SandboxProcessOutput? End() => Interlocked.Exchange(ref _held, null);

    /// <summary>Gets the data of a piece.</summary>
    public static ProcessOutputBody BodyOf(SandboxProcessOutput piece) => new(
        piece.Offset, Encoding.UTF8.GetString(piece.Data.Span), Utf8.IsValid(piece.Data.Span) ? null : piece.Data.ToArray());

    /// <summary>Counts the bytes at the end that may be the beginning of a character.</summary>
    private static int CountIncomplete(ReadOnlySpan<byte> bytes)
    {
        const int MaxIncomplete = 3;
        for (int length = 1; length <= Math.Min(MaxIncomplete, bytes.Length); length++)
        {
            bool isContinuation = (bytes[^length] & 0xC0) == 0x80;
            if (!isContinuation)
            {
                return Rune.DecodeFromUtf8(bytes[^length..], out _, out _) == OperationStatus.NeedMoreData ? length : 0;
            }
        }

        return 0;
    }
}
