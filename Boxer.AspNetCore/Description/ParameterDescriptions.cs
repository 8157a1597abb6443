using System.Text.Json.Nodes;

namespace Boxer.AspNetCore.Description;

/// <summary>Adds the parameters of operations. Handlers read them from the request, so they are not generated.</summary>
internal static class ParameterDescriptions
{
    /// <summary>The parameters apart from those in the path, by operation. All but <c>path</c> are optional.</summary>
    private static readonly Dictionary<string, string[]> Parameters = new(StringComparer.Ordinal)
    {
        ["exec"] = ["resume"],
        ["execStream"] = ["resume"],
        ["startProcess"] = ["resume"],
        ["killProcess"] = ["resume"],
        ["processEvents"] = ["Last-Event-ID", "offset", "resume"],
        ["writeInput"] = ["end", "resume"],
        ["signalProcess"] = ["resume"],
        ["resizeTerminal"] = ["resume"],
        ["connectPort"] = ["resume"],
        ["readSessionFile"] = ["path", "resume"],
        ["writeSessionFile"] = ["path", "mode", "resume"],
        ["removeSessionFile"] = ["path", "resume"],
        ["statSessionFile"] = ["path", "resume"],
        ["listSessionFiles"] = ["directory", "depth", "resume"],
        ["watchSessionFiles"] = ["directory", "resume"],
        ["moveSessionFile"] = ["resume"],
        ["makeSessionDirectory"] = ["resume"],
        ["readSessionArchive"] = ["directory", "resume"],
        ["writeSessionArchive"] = ["directory", "resume"],
    };

    /// <summary>Adds the parameters of an operation.</summary>
    /// <param name="path">The path of the operation, with the names of its parameters in braces.</param>
    /// <param name="operation">The operation.</param>
    internal static void Add(string path, JsonObject operation)
    {
        foreach (JsonNode? file in operation["parameters"]?.AsArray() ?? [])
        {
            // Only the path of a file is generated.
            file!["required"] = true;
            file["description"] = "The path of a file.";
            file["example"] = "job/main.py";
        }

        IEnumerable<JsonObject> inPath = path.Split('/').Where(segment => segment.StartsWith('{')).Select(segment => InPath(segment.Trim('{', '}')));
        IEnumerable<JsonObject> others = Parameters.GetValueOrDefault((string?)operation["operationId"] ?? "", []).Select(Other);
        JsonArray parameters = [.. inPath.Concat(others).Select(parameter => (JsonNode)parameter)];
        if (parameters.Count > 0)
        {
            operation["parameters"] = parameters;
        }
    }

    private static JsonObject InPath(string name) => name switch
    {
        "id" => Create(name, "path", "Identifier of the session.", new JsonObject { ["type"] = "string", ["pattern"] = "^[a-z0-9]{20,57}$" }, isRequired: true),
        "pid" => Create(name, "path", "Identifier of the process.", Whole(1), isRequired: true),
        "port" => Create(name, "path", "The port in the sandbox.", Whole(1, 65_535), isRequired: true),
        _ => Create(name, "path", name, new JsonObject { ["type"] = "string" }, isRequired: true),
    };

    private static JsonObject Other(string name)
    {
        const string Offset = "Number of output bytes to skip, of all streams together: the id of the last event that was received.";
        return name switch
        {
            "resume" => Create(name, "query", "Whether to resume the session if it is paused. Default: false, which answers 409.", Flag()),
            "end" => Create(name, "query", "Whether the body is the end of the input. Default: false.", Flag()),
            "path" => Create(
                name, "query", "Path in the session: absolute, or relative to its working directory.", new JsonObject { ["type"] = "string" }, isRequired: true, example: "src/main.py"),
            "directory" => Create(
                "path", "query", "Path in the session: absolute, or relative to its working directory. Default: the working directory.", new JsonObject { ["type"] = "string" }, example: "src"),
            "mode" => Create(
                name, "query", "Permission bits in octal. Default: 0644 for a new file, unchanged for an existing one.", new JsonObject { ["type"] = "string" }, example: "0644"),
            "depth" => Create(name, "query", "Number of levels. Default: 1, the directory's own entries.", Whole(1, 64)),
            "offset" => Create(name, "query", $"{Offset} Default: 0. The header Last-Event-ID takes precedence.", Whole(0)),
            _ => Create(name, "header", Offset, Whole(0)),
        };
    }

    private static JsonObject Create(string name, string place, string description, JsonObject schema, bool isRequired = false, string? example = null)
    {
        JsonObject parameter = new() { ["name"] = name, ["in"] = place, ["description"] = description };
        if (isRequired)
        {
            parameter["required"] = true;
        }

        parameter["schema"] = schema;
        if (example is not null)
        {
            parameter["example"] = example;
        }

        return parameter;
    }

    private static JsonObject Flag() => new() { ["type"] = "boolean" };

    private static JsonObject Whole(long least, long? most = null)
    {
        JsonObject schema = new() { ["type"] = "integer", ["format"] = "int64", ["minimum"] = least };
        if (most is { } maximum)
        {
            schema["maximum"] = maximum;
        }

        return schema;
    }
}
