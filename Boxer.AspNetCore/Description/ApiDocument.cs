using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using Boxer.Networking;
using Boxer.Validation;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace Boxer.AspNetCore.Description;

/// <summary>
/// The OpenAPI document, made once. The generated one says what types say; this adds what the endpoints promise beyond: what is in every answer, values
/// and ranges, keys, examples and events.
/// </summary>
internal sealed class ApiDocument(IServiceProvider services, ApiKeys keys, AllowedNetworks networks)
{
    private static readonly string[] Requests = ["RunRequest", "Limits", "EgressPolicy", "InlineFile", "Workspace", "Upload"];

    private static readonly Dictionary<(string Schema, string Property), string[]> Values = new()
    {
        [("RunRequest", "outputs")] = RunRequestReader.OutputKinds,
        [("RunRequest", "pull")] = RunRequestReader.PullPolicies,
        [("RunResult", "termination")] = ["exited", "signaled", "cpu_time_limit", "memory_limit", "pids_limit", "disk_limit"],
        [("RunError", "termination")] = ["wall_clock_limit", "output_limit", "not_started", "sandbox_died"],
        [("HealthCheck", "status")] = ["healthy", "degraded", "unhealthy"],
    };

    private static readonly Dictionary<string, string> Meanings = new(StringComparer.Ordinal)
    {
        ["200"] = "The request was carried out.",
        ["400"] = "The request is wrong, or its command could not be started.",
        ["401"] = "The API key is missing.",
        ["403"] = "The API key is unknown, or the request came from a web page of another site.",
        ["404"] = "There is no such image or file.",
        ["408"] = "The wall-clock limit ended the run.",
        ["413"] = "The body or the file is too large, or the file space is full.",
        ["421"] = "The Host header has a name that is not this host's.",
        ["429"] = "Too many requests wait or are being sent.",
        ["500"] = "The sandbox or the host failed.",
        ["502"] = "The registry failed.",
        ["503"] = "The host is stopping or not ready.",
        ["507"] = "The output limit ended the run, or the disk is full.",
    };

    private readonly Lazy<Task<byte[]>> _made = new(() => MakeAsync(services, keys, networks));

    /// <summary>The document as JSON in UTF-8.</summary>
    public Task<byte[]> GetAsync() => _made.Value;

    private static async Task<byte[]> MakeAsync(IServiceProvider services, ApiKeys keys, AllowedNetworks networks)
    {
        IOpenApiDocumentProvider provider = services.GetRequiredKeyedService<IOpenApiDocumentProvider>(BoxerHttpDefaults.DocumentName);
        OpenApiDocument generated = await provider.GetOpenApiDocumentAsync();
        using MemoryStream json = new();
        await generated.SerializeAsJsonAsync(json, OpenApiSpecVersion.OpenApi3_1);
        JsonObject document = (JsonObject)JsonNode.Parse(json.ToArray())!;
        document["info"] = new JsonObject
        {
            ["title"] = "Boxer",
            ["description"] = "Runs untrusted commands from OCI images in gVisor sandboxes.",
            ["version"] = "1",
        };
        document.Remove("servers");
        document["tags"] = new JsonArray(Tag("Runs", "Commands in sandboxes."), Tag("Files", "Uploads, and outputs that were kept."), Tag("Health", "Whether the host lives and takes runs."));
        JsonObject schemas = (JsonObject)document["components"]!["schemas"]!;
        Inline(document, schemas, "LargeText", new JsonObject { ["type"] = "string" });
        Inline(document, schemas, "IFormFile", new JsonObject { ["type"] = "string", ["format"] = "binary" });
        CleanDescriptions(document);
        CleanNumbers(document);
        DescribeSchemas(schemas, networks.Names);
        foreach (JsonObject operation in document["paths"]!.AsObject().SelectMany(path => path.Value!.AsObject()).Select(method => (JsonObject)method.Value!))
        {
            DescribeOperation(operation, keys.AreRequired);
        }

        if (keys.AreRequired)
        {
            document["components"]!["securitySchemes"] = new JsonObject
            {
                ["bearer"] = new JsonObject { ["type"] = "http", ["scheme"] = "bearer" },
                ["apiKey"] = new JsonObject { ["type"] = "apiKey", ["in"] = "header", ["name"] = "X-API-Key" },
            };
            document["security"] = new JsonArray(new JsonObject { ["bearer"] = new JsonArray() }, new JsonObject { ["apiKey"] = new JsonArray() });
        }

        using MemoryStream target = new();
        using (Utf8JsonWriter writer = new(target, new JsonWriterOptions { Indented = true, NewLine = "\n", Encoder = HostJson.Relaxed.Options.Encoder }))
        {
            document.WriteTo(writer);
        }

        return target.ToArray();
    }

    /// <summary>Writes a schema where it is used: it is a type of this program and nothing of the API.</summary>
    private static void Inline(JsonNode? node, JsonObject schemas, string name, JsonObject schema)
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

    // Documentation comments are XML in lines.
    private static void CleanDescriptions(JsonNode node)
    {
        foreach (JsonObject found in FindObjects(node))
        {
            if (found["description"] is JsonValue description && description.TryGetValue(out string? text))
            {
                found["description"] = WebUtility.HtmlDecode(text.ReplaceLineEndings(" "));
            }
        }
    }

    // The application's own JSON options may let numbers be texts; these endpoints do not.
    private static void CleanNumbers(JsonNode node)
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

    private static JsonObject Tag(string name, string description) => new() { ["name"] = name, ["description"] = description };

    private static void DescribeSchemas(JsonObject schemas, string[] networks)
    {
        foreach ((string name, JsonNode? schema) in schemas)
        {
            bool isRequest = Requests.Contains(name);
            JsonArray required = [];
            foreach ((string property, JsonNode? description) in schema!["properties"]!.AsObject().ToList())
            {
                JsonObject member = (JsonObject)description!;
                bool isOptional = RemoveNull(member);
                if (!isOptional)
                {
                    required.Add((JsonNode)property);
                }
                else if (isRequest)
                {
                    // Null is as good as absent in a request; an answer has no null.
                    AddNull(schema["properties"]!.AsObject(), property);
                }

                if (Values.TryGetValue((name, property), out string[]? values))
                {
                    SetValues((JsonObject)schema["properties"]![property]!, values, isOptional && isRequest);
                }
            }

            schema.AsObject().Remove("required");
            if (required.Count > 0)
            {
                schema.AsObject().Insert(0, "required", required);
            }
        }

        JsonObject request = (JsonObject)schemas["RunRequest"]!["properties"]!;
        SetValues((JsonObject)request["network"]!, networks, isNullable: true);
        request["env"] = new JsonObject
        {
            ["description"] = request["env"]!["description"]!.DeepClone(),
            ["oneOf"] = new JsonArray(
                new JsonObject { ["type"] = "array", ["items"] = new JsonObject { ["type"] = "string" } },
                new JsonObject { ["type"] = "object", ["additionalProperties"] = new JsonObject { ["type"] = "string" } },
                new JsonObject { ["type"] = "null" }),
        };
        request["cmd"]!["minItems"] = 1;
        request["files"]!["maxItems"] = RunRequestReader.MaxFiles;
        request["inputs"]!["maxItems"] = RunRequestReader.MaxFiles;
        request["stop_grace_ms"]!["minimum"] = 0;
        request["stop_grace_ms"]!["maximum"] = RunRequestReader.MaxStopGraceMs;
        SetRanges(schemas, "Limits", SettingTable.BuiltIn.Limits, isZeroDefault: true);
        SetRanges(schemas, "EgressPolicy", SettingTable.BuiltIn.Egress, isZeroDefault: false);
        schemas["Upload"]!["properties"]!["path"]!["examples"] = new JsonArray("job/main.py");
        schemas["RunRequest"]!["example"] = new JsonObject
        {
            ["image"] = "python:3.12-slim",
            ["cmd"] = new JsonArray("python3", "-c", "print(42)"),
            ["limits"] = new JsonObject { ["memory_mb"] = 256, ["wall_clock_secs"] = 10 },
        };
        schemas["RunResult"]!["example"] = new JsonObject
        {
            ["exec_id"] = "boxer-6f1c2f0a-8f3a-4c0e-9f57-0a4c0d3f6f11",
            ["exit_code"] = 0,
            ["stdout"] = "42\n",
            ["stderr"] = "",
            ["wall_ms"] = 12,
            ["termination"] = "exited",
            ["outputs"] = new JsonArray(),
            ["image_digest"] = "sha256:0f5bc0a9a7c1d2e3f4a5b6c7d8e9f00112233445566778899aabbccddeeff001",
            ["timings_ms"] = new JsonObject { ["queue"] = 0.1, ["image"] = 0.4, ["network"] = 0, ["sandbox"] = 1.2, ["run"] = 12.5, ["outputs"] = 0, ["cleanup"] = 0, ["total"] = 14.2 },
            ["usage"] = new JsonObject { ["cpu_ms"] = 9.8, ["peak_memory_bytes"] = 9_437_184 },
        };
        schemas["Error"]!["example"] = new JsonObject { ["error"] = "cmd: is missing; list the program and its arguments." };
        schemas["RunError"]!["example"] = new JsonObject { ["error"] = "the command ran longer than its wall-clock limit of 10 s", ["exec_id"] = "boxer-6f1c2f0a-8f3a-4c0e-9f57-0a4c0d3f6f11", ["stdout"] = "", ["stderr"] = "", ["termination"] = "wall_clock_limit" };
        schemas["RunEnd"] = new JsonObject
        {
            ["description"] = "The data of the end event: the body that POST /run would have, and its status.",
            ["anyOf"] = new JsonArray(Reference("RunResult"), Reference("RunError")),
        };
    }

    private static void DescribeOperation(JsonObject operation, bool hasKeys)
    {
        foreach (JsonNode? parameter in operation["parameters"]?.AsArray() ?? [])
        {
            // The only one there is.
            parameter!["required"] = true;
            parameter["description"] = "The path of a file.";
            parameter["example"] = "job/main.py";
        }

        (operation["requestBody"]?["content"] as JsonObject)?.Remove("*/*");
        JsonObject responses = (JsonObject)operation["responses"]!;
        bool isOpen = (string?)operation["operationId"] == "healthz";
        responses.Remove(hasKeys ? "421" : "401");
        if (isOpen && hasKeys)
        {
            operation["security"] = new JsonArray();
        }

        foreach ((string status, JsonNode? response) in responses)
        {
            // The application can have added statuses of its own.
            if (Meanings.TryGetValue(status, out string? meaning))
            {
                response!["description"] = meaning;
            }

            if (status == "429")
            {
                response!["headers"] = new JsonObject { ["Retry-After"] = new JsonObject { ["description"] = "Seconds.", ["schema"] = new JsonObject { ["type"] = "integer" } } };
            }

            if (response!["content"]?["text/event-stream"] is JsonObject events)
            {
                events["schema"] = new JsonObject { ["type"] = "string", ["description"] = "Server-sent events; the data of each is one line of JSON." };
                events["x-events"] = new JsonObject
                {
                    ["started"] = Reference("RunStarted"),
                    ["stdout"] = Reference("RunText"),
                    ["stderr"] = Reference("RunText"),
                    ["end"] = Reference("RunEnd"),
                };
            }
        }
    }

    private static void SetRanges(JsonObject schemas, string schema, IReadOnlyList<Setting> table, bool isZeroDefault)
    {
        foreach (Setting setting in table.Where(setting => setting.HttpKey is not null && setting.Least is not null))
        {
            JsonObject member = (JsonObject)schemas[schema]!["properties"]![setting.HttpKey!]!;
            (decimal least, decimal most) = setting.NumberRange();
            member["minimum"] = isZeroDefault ? 0 : least;
            member["maximum"] = most;
        }
    }

    private static void SetValues(JsonObject member, string[] values, bool isNullable)
    {
        JsonArray all = [.. values.Select(value => (JsonNode)value)];
        if (isNullable)
        {
            all.Add((JsonNode?)null);
        }

        member["enum"] = all;
    }

    /// <summary>Removes null from what a member can be.</summary>
    /// <returns>Whether it was there.</returns>
    private static bool RemoveNull(JsonObject member)
    {
        if (member["type"] is JsonArray types)
        {
            string[] left = [.. types.Select(type => (string)type!).Where(type => type != "null")];
            bool had = left.Length < types.Count;
            member["type"] = left.Length == 1 ? left[0] : new JsonArray([.. left.Select(type => (JsonNode)type)]);
            return had;
        }

        if (member["oneOf"] is JsonArray choices && choices.FirstOrDefault(choice => (string?)choice!["type"] == "null") is { } nothing)
        {
            choices.Remove(nothing);
            if (choices is [JsonObject only])
            {
                member.Remove("oneOf");
                foreach ((string key, JsonNode? value) in only)
                {
                    member[key] = value?.DeepClone();
                }
            }

            return true;
        }

        return false;
    }

    private static void AddNull(JsonObject members, string name)
    {
        JsonObject member = (JsonObject)members[name]!;
        if (member["type"] is JsonValue type)
        {
            member["type"] = new JsonArray("null", (string)type!);
        }
        else if (member["$ref"] is not null)
        {
            JsonObject nullable = new() { ["oneOf"] = new JsonArray(new JsonObject { ["type"] = "null" }, new JsonObject { ["$ref"] = member["$ref"]!.DeepClone() }) };
            if (member["description"] is { } description)
            {
                nullable["description"] = description.DeepClone();
            }

            members[name] = nullable;
        }
    }

    private static JsonObject Reference(string schema) => new() { ["$ref"] = $"#/components/schemas/{schema}" };
}
