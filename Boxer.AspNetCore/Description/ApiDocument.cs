using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace Boxer.AspNetCore.Description;

/// <summary>
/// The OpenAPI document, created once. ASP.NET Core generates it from the types. This class adds the parts of the contract that types cannot
/// express: required members, values and ranges, keys, examples and events.
/// </summary>
internal sealed class ApiDocument(IServiceProvider services, ApiKeys keys, AllowedNetworks networks)
{
    private readonly Lazy<Task<byte[]>> _document = new(() => CreateAsync(services, keys, networks));

    /// <summary>Gets the document as JSON in UTF-8.</summary>
    public Task<byte[]> GetAsync() => _document.Value;

    private static async Task<byte[]> CreateAsync(IServiceProvider services, ApiKeys keys, AllowedNetworks networks)
    {
        JsonObject document = await GenerateAsync(services);
        document["info"] = new JsonObject
        {
            ["title"] = "Boxer",
            ["description"] = "Runs untrusted commands from OCI images in gVisor sandboxes.",
            ["version"] = "1",
        };
        document.Remove("servers");
        JsonArray tags = [Tag("Runs", "Commands in sandboxes."), Tag("Files", "Uploads and kept outputs.")];
        if (SessionRoutes.AreAvailable(services))
        {
            tags.Add((JsonNode)Tag("Sessions", "Sandboxes that are kept for many commands."));
            tags.Add((JsonNode)Tag("Processes", "Processes of a session that go on between requests."));
            tags.Add((JsonNode)Tag("Session files", "The files of a session."));
        }

        tags.Add((JsonNode)Tag("Health", "Whether the host is alive and accepts runs."));
        document["tags"] = tags;
        JsonObject schemas = (JsonObject)document["components"]!["schemas"]!;
        GeneratedJson.Inline(document, schemas, "LargeText", new JsonObject { ["type"] = "string" });
        GeneratedJson.Inline(document, schemas, "IFormFile", new JsonObject { ["type"] = "string", ["format"] = "binary" });
        GeneratedJson.CleanDescriptions(document);
        GeneratedJson.CleanNumbers(document);
        SchemaDescriptions.Add(schemas, networks.Names);
        foreach ((string path, JsonNode? methods) in document["paths"]!.AsObject())
        {
            foreach (JsonObject operation in methods!.AsObject().Select(method => (JsonObject)method.Value!))
            {
                ParameterDescriptions.Add(path, operation);
                OperationDescriptions.Add(operation, keys.AreRequired);
            }
        }

        if (keys.AreRequired)
        {
            AddSecurity(document);
        }

        return Serialize(document);
    }

    private static async Task<JsonObject> GenerateAsync(IServiceProvider services)
    {
        IOpenApiDocumentProvider provider = services.GetRequiredKeyedService<IOpenApiDocumentProvider>(BoxerHttpDefaults.DocumentName);
        OpenApiDocument generated = await provider.GetOpenApiDocumentAsync();
        using MemoryStream json = new();
        await generated.SerializeAsJsonAsync(json, OpenApiSpecVersion.OpenApi3_1);
        return (JsonObject)JsonNode.Parse(json.ToArray())!;
    }

    private static JsonObject Tag(string name, string description) => new() { ["name"] = name, ["description"] = description };

    private static void AddSecurity(JsonObject document)
    {
        document["components"]!["securitySchemes"] = new JsonObject
        {
            ["bearer"] = new JsonObject { ["type"] = "http", ["scheme"] = "bearer" },
            ["apiKey"] = new JsonObject { ["type"] = "apiKey", ["in"] = "header", ["name"] = "X-API-Key" },
        };
        document["security"] = new JsonArray(new JsonObject { ["bearer"] = new JsonArray() }, new JsonObject { ["apiKey"] = new JsonArray() });
    }

    private static byte[] Serialize(JsonObject document)
    {
        using MemoryStream target = new();
        using (Utf8JsonWriter writer = new(target, new JsonWriterOptions { Indented = true, NewLine = "\n", Encoder = HostJson.Relaxed.Options.Encoder }))
        {
            document.WriteTo(writer);
        }

        return target.ToArray();
    }
}
