namespace Boxer.Images;

/// <summary>Text of registries and archives in messages.</summary>
internal static class UntrustedText
{
    /// <summary>The text, printable and at most 200 characters of it.</summary>
    /// <param name="text">The text.</param>
    public static string Show(string text) => string.Concat(text.Take(200).Select(c => char.IsControl(c) ? '\uFFFD' : c));
}
