using System.Globalization;
using System.Text.Json;

namespace Boxer.AspNetCore.Contracts;

/// <summary>Parses bodies of requests and the configuration: no name is there twice, and nothing is nested deeply.</summary>
internal static class StrictJson
{
    /// <summary>The most levels of objects and lists.</summary>
    internal const int MaxDepth = 8;

    /// <summary>Parses a document.</summary>
    /// <param name="text">JSON in UTF-8.</param>
    /// <param name="isOfAPerson">Whether comments and trailing commas are fine.</param>
    /// <exception cref="JsonException">It is not valid JSON, or a name is there twice; see <see cref="Explain"/>.</exception>
    /// <exception cref="InvalidOperationException">A name is not valid Unicode.</exception>
    public static JsonDocument Parse(ReadOnlyMemory<byte> text, bool isOfAPerson) => JsonDocument.Parse(text, new JsonDocumentOptions
    {
        AllowDuplicateProperties = false,
        AllowTrailingCommas = isOfAPerson,
        CommentHandling = isOfAPerson ? JsonCommentHandling.Skip : JsonCommentHandling.Disallow,
        MaxDepth = MaxDepth,
    });

    /// <summary>Says where and why a document is not valid.</summary>
    public static string Explain(JsonException exception)
    {
        string reason = exception.Message.Split(" Path:")[0].Split(" LineNumber:")[0];
        return exception.LineNumber is { } line
            ? string.Create(CultureInfo.InvariantCulture, $"line {line + 1}, byte {exception.BytePositionInLine + 1}: {reason}")
            : reason;
    }
}
