using System.Text.Json.Nodes;

namespace Boxer.AspNetCore.Description;

/// <summary>Adds parameters, statuses, security and events to operations.</summary>
internal static class OperationDescriptions
{
    private static readonly Dictionary<string, string> StatusDescriptions = new(StringComparer.Ordinal)
    {
        ["200"] = "The request succeeded.",
        ["400"] = "The request is wrong, or its command could not be started.",
        ["401"] = "The API key is missing.",
        ["403"] = "The API key is unknown, or the request comes from a web page of another site.",
        ["404"] = "The image or file does not exist.",
        ["408"] = "The wall-clock limit ended the run.",
        ["413"] = "The body or the file is too large, or the file space is full.",
        ["421"] = "The Host header does not name this host.",
        ["429"] = "The host is busy: too many requests are queued or being received.",
        ["500"] = "The sandbox or the host failed.",
        ["502"] = "The registry failed.",
        ["503"] = "The host is stopping or not ready.",
        ["507"] = "The output limit ended the run, or the disk is full.",
    };

    /// <summary>Completes an operation.</summary>
    /// <param name="operation">The operation.</param>
    /// <param name="hasKeys">Whether API keys are required.</param>
    internal static void Add(JsonObject operation, bool hasKeys)
    {
        foreach (JsonNode? parameter in operation["parameters"]?.AsArray() ?? [])
        {
            // path is the only parameter of all operations.
            parameter!["required"] = true;
            parameter["description"] = "The path of a file.";
            parameter["example"] = "job/main.py";
        }

        (operation["requestBody"]?["content"] as JsonObject)?.Remove("*/*");
        JsonObject responses = (JsonObject)operation["responses"]!;
        responses.Remove(hasKeys ? "421" : "401");
        if (hasKeys && (string?)operation["operationId"] == "healthz")
        {
            operation["security"] = new JsonArray();
        }

        foreach ((string status, JsonNode? response) in responses)
        {
            AddToResponse(status, response!);
        }
    }

    private static void AddToResponse(string status, JsonNode response)
    {
        // The application may have added other statuses.
        if (StatusDescriptions.TryGetValue(status, out string? description))
        {
            response["description"] = description;
        }

        if (status == "429")
        {
            response["headers"] = new JsonObject { ["Retry-After"] = new JsonObject { ["description"] = "Seconds after which to retry.", ["schema"] = new JsonObject { ["type"] = "integer" } } };
        }

        if (response["content"]?["text/event-stream"] is JsonObject events)
        {
            events["schema"] = new JsonObject { ["type"] = "string", ["description"] = "Server-sent events; the data of each event is one line of JSON." };
            events["x-events"] = new JsonObject
            {
                ["started"] = SchemaDescriptions.Reference("RunStarted"),
                ["stdout"] = SchemaDescriptions.Reference("RunText"),
                ["stderr"] = SchemaDescriptions.Reference("RunText"),
                ["end"] = SchemaDescriptions.Reference("RunEnd"),
            };
        }
    }
}
