using System.Text.Json.Nodes;

namespace Boxer.AspNetCore.Description;

/// <summary>Adds examples to schemas.</summary>
internal static class Examples
{
    internal static void Add(JsonObject schemas)
    {
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
        schemas["RunError"]!["example"] = new JsonObject
        {
            ["error"] = "the command ran longer than its wall-clock limit of 10 s",
            ["exec_id"] = "boxer-6f1c2f0a-8f3a-4c0e-9f57-0a4c0d3f6f11",
            ["stdout"] = "",
            ["stderr"] = "",
            ["termination"] = "wall_clock_limit",
        };
    }
}
