using System.Collections.Concurrent;
using System.Globalization;
using System.Text.Json.Nodes;
using Boxer.AspNetCore;
using Boxer.AspNetCore.Description;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Boxer.Tests.HttpHost;

/// <summary>
/// Checks responses against the OpenAPI document: status and content type must be documented, required members present, and other members
/// documented.
/// </summary>
internal sealed class ContractDocument(JsonObject document)
{
    private static readonly ConcurrentDictionary<(ContractHost, bool HasKeys, bool HasSessions), Lazy<Task<ContractDocument>>> Known = new();

    public JsonObject Json => document;

    /// <summary>Gets the document of an application. It is the same for all hosts of one kind, with or without keys and sessions.</summary>
    public static Task<ContractDocument> OfAsync(WebApplication app, ContractHost contract, bool hasKeys) =>
        Known.GetOrAdd((contract, hasKeys, app.Services.GetRequiredService<IOptions<BoxerHttpOptions>>().Value.AllowSessions), _ => new(async () =>
            new ContractDocument((JsonObject)JsonNode.Parse(await app.Services.GetRequiredService<ApiDocument>().GetAsync())!))).Value;

    /// <summary>Finds the differences of a value from a schema.</summary>
    public IEnumerable<string> FindFaults(JsonNode? value, JsonNode schema, string path)
    {
        if ((string?)schema["$ref"] is { } reference)
        {
            return FindFaults(value, document["components"]!["schemas"]![reference.Split('/')[^1]]!, path);
        }

        if ((schema["oneOf"] ?? schema["anyOf"]) is JsonArray choices)
        {
            return choices.Any(choice => !FindFaults(value, choice!, path).Any()) ? [] : [$"{path}: is none of the {choices.Count} schemas"];
        }

        return FindOwnFaults(value, schema, path);
    }

    /// <summary>Finds the differences of server-sent events from the document.</summary>
    public IEnumerable<string> FindEventFaults(string text, string path = "/run/stream", string method = "post")
    {
        JsonNode events = document["paths"]![path]![method]!["responses"]!["200"]!["content"]!["text/event-stream"]!["x-events"]!;
        foreach (string block in text.Split("\n\n", StringSplitOptions.RemoveEmptyEntries).Where(block => !block.StartsWith(':')))
        {
            string[] lines = block.Split('\n');
            string name = lines[^2]["event: ".Length..];
            IEnumerable<string> faults = events[name] is { } schema ? FindFaults(JsonNode.Parse(lines[^1]["data: ".Length..]), schema, name) : [$"{name}: is no event of the document"];
            foreach (string fault in faults)
            {
                yield return fault;
            }
        }
    }

    /// <summary>Finds the differences of a response from the document. JSON bodies are read.</summary>
    public async Task<IReadOnlyList<string>> FindFaultsAsync(string method, string path, HttpResponseMessage response)
    {
        string status = ((int)response.StatusCode).ToString(CultureInfo.InvariantCulture);
        string? type = response.Content.Headers.ContentType?.MediaType;
        JsonNode? described = document["paths"]!.AsObject().FirstOrDefault(known => Matches(known.Key, path)).Value?[method.ToLowerInvariant()];
        JsonNode? schema;
        if (described is null)
        {
            // Unknown paths and methods, and endpoints of other packages.
            if ((int)response.StatusCode < 400)
            {
                return [];
            }

            schema = new JsonObject { ["$ref"] = "#/components/schemas/Error" };
        }
        else if (described["responses"]![status]?["content"] is not { } content)
        {
            return [$"{method} {path}: status {status} is not in the document"];
        }
        else if (type is null || content[type] is not { } media)
        {
            return [$"{method} {path}: {status} has the type {type}, which is not in the document"];
        }
        else
        {
            schema = media["schema"];
        }

        if (type != "application/json")
        {
            return described is null ? [$"{method} {path}: {status} has the type {type}"] : [];
        }

        await response.Content.LoadIntoBufferAsync();
        return [.. FindFaults(JsonNode.Parse(await response.Content.ReadAsByteArrayAsync()), schema!, $"{method} {path} {status}")];
    }

    private static bool Matches(string template, string path)
    {
        string[] known = template.Split('/'), given = path.Split('/');
        return known.Length == given.Length && known.Zip(given).All(pair => pair.First == pair.Second || pair.First.StartsWith('{'));
    }

    private static string TypeOf(JsonNode? value) => value?.GetValueKind() switch
    {
        null or System.Text.Json.JsonValueKind.Null => "null",
        System.Text.Json.JsonValueKind.True or System.Text.Json.JsonValueKind.False => "boolean",
        System.Text.Json.JsonValueKind.String => "string",
        System.Text.Json.JsonValueKind.Array => "array",
        System.Text.Json.JsonValueKind.Object => "object",
        _ => value.AsValue().TryGetValue(out long _) ? "integer" : "number",
    };

    private IEnumerable<string> FindOwnFaults(JsonNode? value, JsonNode schema, string path)
    {
        string type = TypeOf(value);
        string[] types = schema["type"] is JsonArray several ? [.. several.Select(one => (string)one!)] : [(string)schema["type"]!];
        if (!types.Contains(type) && !(type == "integer" && types.Contains("number")))
        {
            yield return $"{path}: is {type}, not {string.Join(" or ", types)}";
            yield break;
        }

        if (schema["enum"] is JsonArray values && !values.Any(known => JsonNode.DeepEquals(known, value)))
        {
            yield return $"{path}: {value} is no value of the document";
        }

        if ((schema["minimum"] is { } least && (decimal)value! < (decimal)least) || (schema["maximum"] is { } most && value is not null && (decimal)value > (decimal)most))
        {
            yield return $"{path}: {value} is out of range";
        }

        IEnumerable<string> below = value switch
        {
            JsonArray items => items.Index().SelectMany(item => FindFaults(item.Item, schema["items"]!, $"{path}[{item.Index}]")),
            JsonObject members => FindMemberFaults(members, schema, path),
            _ => [],
        };
        foreach (string fault in below)
        {
            yield return fault;
        }
    }

    private IEnumerable<string> FindMemberFaults(JsonObject members, JsonNode schema, string path)
    {
        foreach (string name in (schema["required"]?.AsArray() ?? []).Select(name => (string)name!).Where(name => !members.ContainsKey(name)))
        {
            yield return $"{path}.{name}: is required and missing";
        }

        foreach ((string name, JsonNode? member) in members)
        {
            if ((schema["properties"]?[name] ?? schema["additionalProperties"]) is not { } described)
            {
                yield return $"{path}.{name}: is not in the document";
                continue;
            }

            foreach (string fault in FindFaults(member, described, $"{path}.{name}"))
            {
                yield return fault;
            }
        }
    }
}

/// <summary>Checks every response against the document.</summary>
internal sealed class ContractHandler(ContractDocument document) : DelegatingHandler(new SocketsHttpHandler())
{
    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        string method = request.Method.Method;
        string path = request.RequestUri!.AbsolutePath;
        HttpResponseMessage response = await base.SendAsync(request, cancellationToken);
        Assert.Empty(await document.FindFaultsAsync(method, path, response));
        return response;
    }
}
