using System.Net;
using System.Text.Json.Nodes;

namespace Boxer.AspNetCore.Description;

/// <summary>Corrects the generated document.</summary>
internal static class GeneratedJson
{
    /// <summary>Replaces references to a schema by the schema itself, for types that are not part of the API.</summary>
    internal static void Inline(JsonNode? node, JsonObject schemas, string name, JsonObject schema)
    {
        schemas.Remove(name);
        foreach (JsonObject found in FindObjects(node).ToList())
        {
            if ((string?)(found["$ref"] as JsonValue) == $"#/components/schemas/{name}")
            {
                found.Remove("$ref");
                foreach ((string key, JsonNode? value) in schema)
                {
                    found[key] = value?.DeepClone();
                }
            }
        }
    }

    /// <summary>Converts descriptions, which are XML documentation comments, to plain text in one line.</summary>
    internal static void CleanDescriptions(JsonNode node)
    {
        foreach (JsonObject found in FindObjects(node))
        {
            if (found["description"] is JsonValue description && description.TryGetValue(out string? text))
            {
                found["description"] = WebUtility.HtmlDecode(text.ReplaceLineEndings(" "));
            }
        }
    }

    /// <summary>Removes strings from the types of numbers. The application's JSON options may allow them, but these endpoints do not use those options.</summary>
    internal static void CleanNumbers(JsonNode node)
    {
        foreach (JsonObject found in FindObjects(node))
        {
            if (found["type"] is JsonArray types && types.Any(type => (string?)type is "integer" or "number") && types.FirstOrDefault(type => (string?)type == "string") is { } text)
            {
                types.Remove(text);
                found.Remove("pattern");
                if (types is [{ } only])
                {
                    found["type"] = only.DeepClone();
                }
            }
        }
    }

    private static IEnumerable<JsonObject> FindObjects(JsonNode? node)
    {
        IEnumerable<JsonNode?> inner = node switch
        {
            JsonObject members => members.Select(member => member.Value),
            JsonArray items => items,
            _ => [],
        };
        IEnumerable<JsonObject> found = inner.ToList().SelectMany(FindObjects);
        return node is JsonObject self ? found.Append(self) : found;
    }
}
