using System.Globalization;

namespace Boxer.Images;

/// <summary>Text of registries and archives in messages.</summary>
internal static class UntrustedText
{
    /// <summary>The text, printable and at most 200 characters of it.</summary>
    /// <param name="text">The text.</param>
    public static string Show(string text) => string.Concat(text.Take(200).Select(c => IsShown(c) ? c : '\uFFFD'));

    // Marks of direction and the like change how the rest of a line looks.
    private static bool IsShown(char c) => char.GetUnicodeCategory(c) is not (UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator);
}
