using System.Globalization;
using System.Text.Json;

namespace Boxer.AspNetCore.Contracts;

/// <summary>Parses request bodies and the configuration. Duplicate names and deep nesting are errors.</summary>
internal static class StrictJson
{
    /// <summary>Maximum depth of objects and lists.</summary>
    internal const int MaxDepth = 8;

    /// <summary>Parses a document.</summary>
    /// <param name="text">JSON in UTF-8.</param>
    /// <param name="allowComments">Whether comments and trailing commas are allowed.</param>
    /// <exception cref="JsonException">The text is not valid JSON or has a duplicate name; see <see cref="Explain"/>.</exception>
    /// <exception cref="InvalidOperationException">A name is not valid Unicode.</exception>
    public static JsonDocument Parse(ReadOnlyMemory<byte> text, bool allowComments) => JsonDocument.Parse(text, new JsonDocumentOptions
    {
        AllowDuplicateProperties = false,
        AllowTrailingCommas = allowComments,
        CommentHandling = allowComments ? JsonCommentHandling.Skip : JsonCommentHandling.Disallow,
        MaxDepth = MaxDepth,
    });

    /// <summary>Gets the position and the reason of an error.</summary>
    public static string Explain(JsonException exception)
    {
        string reason = exception.Message.Split(" Path:")[0].Split(" LineNumber:")[0];
        return exception.LineNumber is { } line
            ? string.Create(CultureInfo.InvariantCulture, $"line {line + 1}, byte {exception.BytePositionInLine + 1}: {reason}")
            : reason;
    }
}
