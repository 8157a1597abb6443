using System.Text.Json.Nodes;

namespace Boxer.AspNetCore.Description;

/// <summary>Adds parameters, statuses, security and events to operations.</summary>
internal static class OperationDescriptions
{
    private static readonly Dictionary<string, string> StatusDescriptions = new(StringComparer.Ordinal)
    {
        ["101"] = "The connection is a WebSocket now.",
        ["200"] = "The request succeeded.",
        ["201"] = "The session or process was created.",
        ["400"] = "The request is wrong, or its command could not be started.",
        ["401"] = "The API key is missing.",
        ["403"] = "The API key is unknown, the request comes from a web page of another site, or the session's user has no permission for the file.",
        ["404"] = "The image, session, process or file does not exist.",
        ["408"] = "The wall-clock limit ended the run.",
        ["409"] = "The session is paused, or something is in the way.",
        ["410"] = "The session ended; ended has the reason.",
        ["413"] = "The body or the file is too large, or the file space is full.",
        ["421"] = "The Host header does not name this host.",
        ["426"] = "The request is not the handshake of a WebSocket.",
        ["429"] = "The host is busy: too many requests are queued or being received.",
        ["500"] = "The sandbox or the host failed.",
        ["502"] = "The registry failed, or nothing listens on the port of the sandbox.",
        ["503"] = "The host is stopping or not ready.",
        ["507"] = "The output limit ended the run, or the disk of the host or of the session is full.",
    };

    /// <summary>Completes an operation.</summary>
    /// <param name="operation">The operation.</param>
    /// <param name="hasKeys">Whether API keys are required.</param>
    internal static void Add(JsonObject operation, bool hasKeys)
    {
        (operation["requestBody"]?["content"] as JsonObject)?.Remove("*/*");
        JsonObject responses = (JsonObject)operation["responses"]!;
        responses.Remove(hasKeys ? "421" : "401");
        if (hasKeys && (string?)operation["operationId"] == "healthz")
        {
            operation["security"] = new JsonArray();
        }

        foreach ((string status, JsonNode? response) in responses)
        {
            AddToResponse((string?)operation["operationId"], status, response!);
        }
    }

    private static void AddToResponse(string? name, string status, JsonNode response)
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
            events["x-events"] = name switch { "processEvents" => ProcessEvents(), "watchSessionFiles" => FileChanges(), _ => RunEvents() };
        }

        if (status == "200" && name is ("listSessions" or "listSessionFiles"))
        {
            response["headers"] = new JsonObject
            {
                ["X-Boxer-Incomplete"] = new JsonObject { ["description"] = "true if entries are missing; absent otherwise.", ["schema"] = new JsonObject { ["type"] = "boolean" } },
            };
        }
    }

    private static JsonObject FileChanges() => new()
    {
        ["started"] = SchemaDescriptions.Reference("FileChange"),
        ["created"] = SchemaDescriptions.Reference("FileChange"),
        ["changed"] = SchemaDescriptions.Reference("FileChange"),
        ["deleted"] = SchemaDescriptions.Reference("FileChange"),
        ["overflow"] = SchemaDescriptions.Reference("FileChange"),
        ["error"] = SchemaDescriptions.Reference("SessionError"),
    };

    private static JsonObject RunEvents() => new()
    {
        ["started"] = SchemaDescriptions.Reference("RunStarted"),
        ["stdout"] = SchemaDescriptions.Reference("RunText"),
        ["stderr"] = SchemaDescriptions.Reference("RunText"),
        ["end"] = SchemaDescriptions.Reference("RunEnd"),
    };

    private static JsonObject ProcessEvents() => new()
    {
        ["stdout"] = SchemaDescriptions.Reference("ProcessOutput"),
        ["stderr"] = SchemaDescriptions.Reference("ProcessOutput"),
        ["output"] = SchemaDescriptions.Reference("ProcessOutput"),
        ["ended"] = SchemaDescriptions.Reference("ProcessEnd"),
        ["error"] = SchemaDescriptions.Reference("SessionError"),
    };
}
