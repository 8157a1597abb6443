using System.Text.Json.Nodes;
using Boxer.Validation;

namespace Boxer.AspNetCore.Description;

/// <summary>Adds required members, values, ranges and examples to schemas.</summary>
internal static class SchemaDescriptions
{
    private static readonly string[] RequestSchemas =
    [
        "RunRequest", "Limits", "EgressPolicy", "InlineFile", "Workspace", "Upload", "SessionRequest", "SessionTimes", "ExecRequest", "ProcessRequest", "Terminal", "SignalRequest",
        "MoveRequest", "DirectoryRequest",
    ];

    private static readonly Dictionary<(string Schema, string Property), string[]> Values = new()
    {
        [("RunRequest", "outputs")] = RunRequestReader.OutputKinds,
        [("RunRequest", "pull")] = RequestKinds.PullPolicies,
        [("RunResult", "termination")] = ["exited", "signaled", "cpu_time_limit", "memory_limit", "pids_limit", "disk_limit"],
        [("RunError", "termination")] = ["wall_clock_limit", "output_limit", "not_started", "sandbox_died"],
        [("RunError", "ended")] = SessionNames.Ends,
        [("SessionRequest", "pull")] = RequestKinds.PullPolicies,
        [("Session", "state")] = SessionNames.States,
        [("Session", "ended")] = SessionNames.Ends,
        [("SessionError", "ended")] = SessionNames.Ends,
        [("SessionError", "reason")] = SessionNames.FileErrors,
        [("ProcessEnd", "termination")] = RunResponses.Terminations,
        [("ProcessEnd", "session_ended")] = SessionNames.Ends,
        [("Entry", "type")] = SessionNames.FileTypes,
        [("HealthCheck", "status")] = ["healthy", "degraded", "unhealthy"],
    };

    /// <summary>Members of <see cref="RunBody"/> that every result has. An error response lacks them if the command did not run.</summary>
    private static readonly string[] ResultMembers = ["exec_id", "stdout", "stderr", "wall_ms", "termination", "outputs", "image_digest", "timings_ms", "usage"];

    /// <summary>Members of responses that are null where they do not apply.</summary>
    private static readonly (string Schema, string Property)[] NullableMembers = [("Session", "ended"), ("Session", "expires_at"), ("Process", "ended")];

    /// <summary>Completes all schemas.</summary>
    /// <param name="schemas">The schemas by name.</param>
    /// <param name="networks">The network modes that requests may use.</param>
    internal static void Add(JsonObject schemas, string[] networks)
    {
        foreach ((string name, JsonNode? schema) in schemas)
        {
            AddMembers(name, schema!.AsObject());
        }

        AddRequest((JsonObject)schemas["RunRequest"]!["properties"]!, networks);
        foreach (string name in new[] { "cols", "rows" })
        {
            JsonNode size = schemas["Terminal"]!["properties"]![name]!;
            size["minimum"] = 1;
            size["maximum"] = RequestKinds.MaxTerminalSize;
        }

        if (schemas.ContainsKey("SessionRequest"))
        {
            SessionSchemas.Add(schemas, networks);
        }

        SetRanges(schemas, "Limits", SettingTable.BuiltIn.Limits, isZeroDefault: true);
        SetRanges(schemas, "EgressPolicy", SettingTable.BuiltIn.Egress, isZeroDefault: false);
        Examples.Add(schemas);
        schemas["RunEnd"] = new JsonObject
        {
            ["description"] = "The data of the end event: the body that POST /run would have returned, and its status.",
            ["anyOf"] = new JsonArray(Reference("RunResult"), Reference("RunError")),
        };
    }

    internal static JsonObject Reference(string schema) => new() { ["$ref"] = $"#/components/schemas/{schema}" };

    private static void AddMembers(string name, JsonObject schema)
    {
        bool isRequest = RequestSchemas.Contains(name);
        JsonObject members = schema["properties"]!.AsObject();
        JsonArray required = [];
        foreach ((string property, JsonNode? description) in members.ToList())
        {
            bool isNullable = NullableMembers.Contains((name, property));
            bool isOptional = RemoveNull((JsonObject)description!) && !isNullable && !(name == "RunResult" && ResultMembers.Contains(property));
            if (!isOptional)
            {
                required.Add((JsonNode)property);
            }

            if (isNullable || (isOptional && isRequest))
            {
                // In a request null means absent; most members of responses are never null.
                AddNull(members, property);
            }

            if (Values.TryGetValue((name, property), out string[]? values))
            {
                SetValues((JsonObject)members[property]!, values, isNullable || (isOptional && isRequest));
            }
        }

        schema.Remove("required");
        if (required.Count > 0)
        {
            schema.Insert(0, "required", required);
        }
    }

    private static void AddRequest(JsonObject request, string[] networks)
    {
        SetValues((JsonObject)request["network"]!, networks, isNullable: true);
        SetEnvironment(request);
        request["cmd"]!["minItems"] = 1;
        request["files"]!["maxItems"] = RequestKinds.MaxFiles;
        request["inputs"]!["maxItems"] = RequestKinds.MaxFiles;
        request["stop_grace_ms"]!["minimum"] = 0;
        request["stop_grace_ms"]!["maximum"] = RequestKinds.MaxStopGraceMs;
    }

    /// <summary>Describes the two forms of environment variables.</summary>
    internal static void SetEnvironment(JsonObject request) => request["env"] = new JsonObject
    {
        ["description"] = request["env"]!["description"]!.DeepClone(),
        ["oneOf"] = new JsonArray(
            new JsonObject { ["type"] = "array", ["items"] = new JsonObject { ["type"] = "string" } },
            new JsonObject { ["type"] = "object", ["additionalProperties"] = new JsonObject { ["type"] = "string" } },
            new JsonObject { ["type"] = "null" }),
    };

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

    internal static void SetValues(JsonObject member, string[] values, bool isNullable)
    {
        JsonArray all = [.. values.Select(value => (JsonNode)value)];
        if (isNullable)
        {
            all.Add((JsonNode?)null);
        }

        member["enum"] = all;
    }

    /// <summary>Removes null from the types of a member.</summary>
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
}
