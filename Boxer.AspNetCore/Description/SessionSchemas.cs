using System.Text.Json.Nodes;

namespace Boxer.AspNetCore.Description;

/// <summary>Completes the schemas of sessions.</summary>
internal static class SessionSchemas
{
    private const string Id = "8r2kq0x5v1m7c4d9b3n6t0y5";

    /// <summary>Completes the schemas.</summary>
    /// <param name="schemas">The schemas by name.</param>
    /// <param name="networks">The network modes that runs may use.</param>
    internal static void Add(JsonObject schemas, string[] networks)
    {
        const int MaxSeconds = 604_800;
        JsonObject session = Members(schemas, "SessionRequest");
        SchemaDescriptions.SetValues((JsonObject)session["network"]!, [.. networks.Where(name => name != "host")], isNullable: true);
        session["files"]!["maxItems"] = RequestKinds.MaxFiles;
        session["inputs"]!["maxItems"] = RequestKinds.MaxFiles;
        foreach (string name in new[] { "SessionRequest", "ExecRequest", "ProcessRequest" })
        {
            SchemaDescriptions.SetEnvironment(Members(schemas, name));
        }

        foreach (string name in new[] { "SessionRequest", "SessionTimes" })
        {
            SetRange(Members(schemas, name)["idle_timeout_secs"]!, 1, MaxSeconds);
            SetRange(Members(schemas, name)["lifetime_secs"]!, 1, MaxSeconds);
        }

        foreach (string name in new[] { "ExecRequest", "ProcessRequest" })
        {
            Members(schemas, name)["cmd"]!["minItems"] = 1;
        }

        SetRange(Members(schemas, "ExecRequest")["stop_grace_ms"]!, 0, RequestKinds.MaxStopGraceMs);
        JsonObject signal = Members(schemas, "SignalRequest");
        signal["signal"] = new JsonObject
        {
            ["description"] = signal["signal"]!["description"]!.DeepClone(),
            ["oneOf"] = new JsonArray(new JsonObject { ["type"] = "string" }, new JsonObject { ["type"] = "integer", ["minimum"] = 1, ["maximum"] = 64 }),
        };
        AddExamples(schemas);
    }

    private static void AddExamples(JsonObject schemas)
    {
        schemas["SessionRequest"]!["example"] = new JsonObject
        {
            ["image"] = "python:3.12-slim",
            ["network"] = "none",
            ["limits"] = new JsonObject { ["memory_mb"] = 512 },
            ["workspace"] = new JsonObject(),
            ["labels"] = new JsonObject { ["conversation"] = "42" },
            ["idle_timeout_secs"] = 600,
        };
        schemas["Session"]!["example"] = new JsonObject
        {
            ["id"] = Id,
            ["state"] = "idle",
            ["ended"] = null,
            ["image_digest"] = "sha256:0f5bc0a9a7c1d2e3f4a5b6c7d8e9f00112233445566778899aabbccddeeff001",
            ["created_at"] = "2026-11-30T09:00:00+00:00",
            ["expires_at"] = "2026-11-30T09:10:00+00:00",
            ["idle_timeout_secs"] = 600,
            ["lifetime_secs"] = 3_600,
            ["labels"] = new JsonObject { ["conversation"] = "42" },
        };
        schemas["SessionTimes"]!["example"] = new JsonObject { ["idle_timeout_secs"] = 1_800 };
        schemas["ExecRequest"]!["example"] = new JsonObject
        {
            ["cmd"] = new JsonArray("pytest", "-q"),
            ["limits"] = new JsonObject { ["wall_clock_secs"] = 60 },
        };
        schemas["ProcessRequest"]!["example"] = new JsonObject
        {
            ["cmd"] = new JsonArray("bash", "-i"),
            ["terminal"] = new JsonObject { ["cols"] = 120, ["rows"] = 40 },
        };
        schemas["Process"]!["example"] = new JsonObject
        {
            ["pid"] = 7,
            ["cmd"] = new JsonArray("bash", "-i"),
            ["terminal"] = true,
            ["started_at"] = "2026-11-30T09:00:05+00:00",
            ["ended"] = null,
        };
        schemas["ProcessOutput"]!["example"] = new JsonObject { ["offset"] = 0, ["text"] = "listening on port 8000\n" };
        schemas["FileChange"]!["example"] = new JsonObject { ["path"] = "src/main.py" };
        schemas["SignalRequest"]!["example"] = new JsonObject { ["signal"] = "SIGTERM" };
        schemas["MoveRequest"]!["example"] = new JsonObject { ["from"] = "draft.py", ["to"] = "src/main.py" };
        schemas["DirectoryRequest"]!["example"] = new JsonObject { ["path"] = "src" };
        schemas["Entry"]!["example"] = new JsonObject
        {
            ["path"] = "src/main.py",
            ["type"] = "file",
            ["size"] = 120,
            ["mode"] = "0644",
            ["modified_at"] = "2026-11-30T09:00:10+00:00",
        };
        schemas["SessionError"]!["example"] = new JsonObject { ["error"] = "The session ended: it reached its idle timeout.", ["ended"] = "idle_timeout" };
    }

    private static JsonObject Members(JsonObject schemas, string name) => (JsonObject)schemas[name]!["properties"]!;

    private static void SetRange(JsonNode member, int least, int most)
    {
        member["minimum"] = least;
        member["maximum"] = most;
    }
}
