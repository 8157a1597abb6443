using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text;

namespace Boxer.Common;

/// <summary>
/// The one place where bytes and text of guests, images, registries and requests become text for results, names and messages.
/// </summary>
internal static class UntrustedText
{
    private const int MaxShown = 200;
    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Decodes UTF-8; bytes that are not UTF-8 become U+FFFD.</summary>
    /// <param name="bytes">The bytes.</param>
    internal static string Decode(ReadOnlySpan<byte> bytes) => Encoding.UTF8.GetString(bytes);

    /// <summary>Decodes UTF-8 that must be valid, as in names: no two of them become the same text.</summary>
    /// <param name="bytes">The bytes.</param>
    /// <param name="text">The text, if they are valid.</param>
    internal static bool TryDecode(ReadOnlySpan<byte> bytes, [NotNullWhen(true)] out string? text)
    {
        text = System.Text.Unicode.Utf8.IsValid(bytes) ? Strict.GetString(bytes) : null;
        return text is not null;
    }

    /// <summary>Makes text fit for one line of a message: printable, and at most 200 characters of it.</summary>
    /// <param name="text">The text.</param>
    internal static string Show(string text) => string.Concat(text.Take(MaxShown).Select(character => IsShown(character) ? character : '\uFFFD'));

    /// <summary>Decodes bytes and makes them fit for one line of a message.</summary>
    /// <param name="bytes">The bytes; the first 200 of them are used.</param>
    internal static string Show(ReadOnlySpan<byte> bytes) => Show(Decode(bytes[..Math.Min(bytes.Length, MaxShown)]));

    /// <summary>Makes text fit for several lines of a message: all of it, with its ends of lines and tabs.</summary>
    /// <param name="text">The text.</param>
    internal static string ShowLines(string text) =>
        string.Concat(text.Select(character => character is '\n' or '\t' || IsShown(character) ? character : '\uFFFD'));

    // Terminals obey control characters. Marks of direction and the like change how the rest of a line looks.
    private static bool IsShown(char character) => char.GetUnicodeCategory(character)
        is not (UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator);
}
