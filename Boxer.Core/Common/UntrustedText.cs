using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text;

namespace Boxer.Common;

/// <summary>
/// Converts bytes and text of guests, images, registries and requests to text for results, names and messages.
/// </summary>
internal static class UntrustedText
{
    private const int MaxShown = 200;
    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Decodes UTF-8. Invalid bytes become U+FFFD.</summary>
    /// <param name="bytes">Untrusted bytes.</param>
    internal static string Decode(ReadOnlySpan<byte> bytes) => Encoding.UTF8.GetString(bytes);

    /// <summary>Decodes UTF-8 that must be valid, such as names: two different names never become the same text.</summary>
    /// <param name="bytes">Untrusted bytes.</param>
    /// <param name="text">The text, if the bytes are valid.</param>
    internal static bool TryDecode(ReadOnlySpan<byte> bytes, [NotNullWhen(true)] out string? text)
    {
        text = System.Text.Unicode.Utf8.IsValid(bytes) ? Strict.GetString(bytes) : null;
        return text is not null;
    }

    /// <summary>Converts text for one line of a message: at most 200 characters, with U+FFFD for characters that are not printable.</summary>
    /// <param name="text">Untrusted text.</param>
    internal static string Show(string text) => string.Concat(text.Take(MaxShown).Select(character => IsShown(character) ? character : '\uFFFD'));

    /// <summary>Decodes bytes for one line of a message, like <see cref="Show(string)"/>.</summary>
    /// <param name="bytes">Untrusted bytes. Only the first 200 are used.</param>
    internal static string Show(ReadOnlySpan<byte> bytes) => Show(Decode(bytes[..Math.Min(bytes.Length, MaxShown)]));

    /// <summary>Converts text for several lines of a message: keeps all of it, with its line breaks and tabs, and U+FFFD for characters that are not printable.</summary>
    /// <param name="text">Untrusted text.</param>
    internal static string ShowLines(string text) =>
        string.Concat(text.Select(character => character is '\n' or '\t' || IsShown(character) ? character : '\uFFFD'));

    // Terminals interpret control characters. Format characters, such as direction marks, change the look of the rest of a line.
    private static bool IsShown(char character) => char.GetUnicodeCategory(character)
        is not (UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator);
}
