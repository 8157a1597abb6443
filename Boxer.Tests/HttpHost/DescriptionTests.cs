using System.Text.Json.Nodes;

namespace Boxer.Tests.HttpHost;

/// <summary>Tests of health, metrics and the OpenAPI document.</summary>
public abstract class DescriptionTests(ContractHost contract) : ContractTests(contract)
{
    [Fact]
    public async Task Health_responses_match_the_contract()
    {
        await using HostFixture host = await StartAsync();

        Answer live = await host.GetAsync("/healthz");
        Answer ready = await host.GetAsync("/health/ready");

        Assert.Equal((200, """{"ok":true}"""), (live.Status, live.Text));
        Assert.Equal(200, ready.Status);
        Assert.True((bool)ready.Json["ready"]!);
        Assert.NotNull(ready.Json["checks"]);
    }

    [Fact]
    public async Task Metrics_have_the_Prometheus_format()
    {
        await using HostFixture host = await StartAsync();
        await host.GetAsync("/healthz");

        Answer answer = await host.GetAsync("/metrics");

        Assert.Equal(200, answer.Status);
        Assert.Contains("# TYPE http_server_request_duration_seconds histogram", answer.Text, StringComparison.Ordinal);
        Assert.Contains("service_name=\"boxer\"", answer.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_OpenAPI_document_has_every_path_and_field()
    {
        await using HostFixture host = await StartAsync();

        JsonNode document = (await host.GetAsync("/openapi/v1.json")).Json;

        Assert.Equal(
            [
                "/files", "/health/ready", "/healthz", "/run", "/run/stream", "/sessions", "/sessions/{id}", "/sessions/{id}/exec", "/sessions/{id}/exec/stream", "/sessions/{id}/files",
                "/sessions/{id}/files/list", "/sessions/{id}/files/mkdir", "/sessions/{id}/files/move", "/sessions/{id}/files/stat", "/sessions/{id}/files/tar", "/sessions/{id}/files/watch",
                "/sessions/{id}/pause",
                "/sessions/{id}/ports/{port}", "/sessions/{id}/processes", "/sessions/{id}/processes/{pid}", "/sessions/{id}/processes/{pid}/events",
                "/sessions/{id}/processes/{pid}/resize", "/sessions/{id}/processes/{pid}/signal", "/sessions/{id}/processes/{pid}/stdin", "/sessions/{id}/resume",
            ],
            document["paths"]!.AsObject().Select(path => path.Key).Order(StringComparer.Ordinal));
        JsonNode schemas = document["components"]!["schemas"]!;
        Assert.Equal(
            ["image", "cmd", "env", "cwd", "limits", "files", "inputs", "workspace", "workspace_out", "stdin", "stdin_base64", "merge_stderr", "terminal", "stop_grace_ms", "user", "persist", "outputs", "network", "pull", "egress"],
            Properties("RunRequest"));
        Assert.Equal(["path", "uploads", "files", "archive"], Properties("Workspace"));
        Assert.Equal(["path", "content", "content_base64", "executable"], Properties("InlineFile"));
        Assert.Equal(["cpu_cores", "memory_mb", "pids_limit", "wall_clock_secs", "cpu_time_secs", "nofile", "disk_mb"], Properties("Limits"));
        Assert.Superset(
            new HashSet<string>(["exec_id", "exit_code", "stdout", "stderr", "wall_ms", "termination", "timings_ms", "outputs"], StringComparer.Ordinal),
            Properties("RunResult").ToHashSet(StringComparer.Ordinal));
        Assert.Equal(["cpu_ms", "command_cpu_ms", "sandbox_cpu_ms", "peak_memory_bytes", "max_rss_bytes"], Properties("Usage"));
        Assert.Superset(new HashSet<string>(["error", "exec_id", "stdout", "stderr"], StringComparer.Ordinal), Properties("RunError").ToHashSet(StringComparer.Ordinal));
        Assert.Equal(["image", "cmd"], schemas["RunRequest"]!["required"]!.AsArray().Select(name => (string)name!));
        Assert.Equal("path", (string)document["paths"]!["/files"]!["get"]!["parameters"]![0]!["name"]!);
        Assert.Equal("""["array","object","null"]""", new JsonArray([.. schemas["RunRequest"]!["properties"]!["env"]!["oneOf"]!.AsArray().Select(kind => kind!["type"]!.DeepClone())]).ToJsonString());
        Assert.Contains("MiB", (string)schemas["Limits"]!["properties"]!["memory_mb"]!["description"]!, StringComparison.Ordinal);

        IEnumerable<string> Properties(string schema) => schemas[schema]!["properties"]!.AsObject().Select(property => property.Key);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task The_OpenAPI_document_has_required_members_and_security_but_no_internal_names(bool withKeys)
    {
        await using HostFixture host = await StartAsync(withKeys ? new JsonObject { ["api_keys"] = new JsonArray("k") } : null);

        JsonObject document = host.Document.Json;
        JsonNode schemas = document["components"]!["schemas"]!;

        Assert.Equal(["port", "protocol", "count"], Texts(schemas["NetworkDenial"]!["required"]));
        Assert.Equal(["status"], Texts(schemas["HealthCheck"]!["required"]));
        Assert.Equal(["path", "size"], Texts(schemas["OutputFile"]!["required"]));
        Assert.Null(schemas["Usage"]!["required"]);
        Assert.DoesNotContain(schemas.AsObject(), schema => schema.Key.EndsWith("Body", StringComparison.Ordinal) || schema.Key is "LargeText" or "IFormFile" or "Stream");
        Assert.Equal(["Runs", "Files", "Sessions", "Processes", "Session files", "Health"], document["tags"]!.AsArray().Select(tag => (string)tag!["name"]!));
        Assert.Equal(["multipart/form-data"], document["paths"]!["/files"]!["post"]!["requestBody"]!["content"]!.AsObject().Select(type => type.Key));
        Assert.Equal(["started", "stdout", "stderr", "end"], document["paths"]!["/run/stream"]!["post"]!["responses"]!["200"]!["content"]!["text/event-stream"]!["x-events"]!.AsObject().Select(name => name.Key));
        JsonNode memory = schemas["Limits"]!["properties"]!["memory_mb"]!;
        Assert.Equal((0, 1_048_576), ((int)memory["minimum"]!, (int)memory["maximum"]!));
        string[] sessions = ["SessionRequest", "Session", "SessionTimes", "ExecRequest", "ProcessRequest", "Process", "ProcessOutput", "FileChange", "SignalRequest", "MoveRequest", "DirectoryRequest", "Entry", "SessionError"];
        foreach (string name in new[] { "RunRequest", "RunResult", "Error", "RunError" }.Concat(sessions))
        {
            Assert.Empty(host.Document.FindFaults(schemas[name]!["example"], schemas[name]!, name));
        }

        Assert.Equal(["id", "state", "ended", "image_digest", "created_at", "expires_at", "idle_timeout_secs", "lifetime_secs", "labels"], Texts(schemas["Session"]!["required"]));
        Assert.Equal(["pid", "cmd", "terminal", "started_at", "ended"], Texts(schemas["Process"]!["required"]));
        Assert.All(document["paths"]!.AsObject().SelectMany(path => path.Value!.AsObject().Select(method => (path.Key, method.Value))), operation => Assert.Equal(
            operation.Key.Split('/').Where(part => part.StartsWith('{')).Select(part => part.Trim('{', '}')),
            (operation.Value!["parameters"]?.AsArray() ?? []).Where(parameter => (string)parameter!["in"]! == "path").Select(parameter => (string)parameter!["name"]!)));
        Assert.Equal(withKeys ? ["bearer", "apiKey"] : [], document["components"]!["securitySchemes"]?.AsObject().Select(scheme => scheme.Key) ?? []);
        Assert.Equal(withKeys, document["paths"]!["/run"]!["post"]!["responses"]!.AsObject().ContainsKey("401"));
        Assert.Equal(withKeys ? 0 : null, document["paths"]!["/healthz"]!["get"]!["security"]?.AsArray().Count);

        static IEnumerable<string> Texts(JsonNode? list) => list!.AsArray().Select(text => (string)text!);
    }

    [Fact]
    public async Task The_OpenAPI_document_is_the_one_in_docs()
    {
        await using HostFixture host = await StartAsync();

        string made = (await host.GetAsync("/openapi/v1.json")).Text + "\n";
        string file = Path.Combine(AppContext.BaseDirectory, "docs", "openapi.json");
        if (made != await File.ReadAllTextAsync(file, TestContext.Current.CancellationToken))
        {
            await File.WriteAllTextAsync(file + ".made", made, TestContext.Current.CancellationToken);
            Assert.Fail($"The OpenAPI document changed. If that is intended, copy {file}.made to docs/openapi.json.");
        }
    }

    [Fact]
    public async Task Without_sessions_neither_they_nor_their_description_exist()
    {
        await using HostFixture host = await StartAsync(new JsonObject { ["allow_sessions"] = false });
        using HttpClient client = new() { BaseAddress = host.Address };

        using HttpResponseMessage opened = await client.PostAsync(new Uri("/sessions", UriKind.Relative), new StringContent("""{"image": "i"}"""), TestContext.Current.CancellationToken);
        JsonNode document = JsonNode.Parse(await client.GetStringAsync(new Uri("/openapi/v1.json", UriKind.Relative), TestContext.Current.CancellationToken))!;

        Assert.Equal(404, (int)opened.StatusCode);
        Assert.Empty(host.Sessions.Requests);
        Assert.DoesNotContain(document["paths"]!.AsObject(), path => path.Key.StartsWith("/sessions", StringComparison.Ordinal));
        Assert.DoesNotContain(document["components"]!["schemas"]!.AsObject(), schema => schema.Key is "Session" or "FileChange");
        Assert.Equal(200, (await host.RunAsync("""{"image": "i", "cmd": ["a"]}""")).Status);
    }

    [Fact]
    public async Task Swagger_shows_the_OpenAPI_document()
    {
        await using HostFixture host = await StartAsync();

        Answer answer = await host.GetAsync("/swagger/index.html");

        Assert.Equal(200, answer.Status);
        Assert.Contains("swagger-ui", answer.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_server_does_not_name_itself()
    {
        await using HostFixture host = await StartAsync();

        Assert.Empty((await host.GetAsync("/healthz")).Response.Headers.Server);
    }
}

public sealed class HttpHostDescriptionTests() : DescriptionTests(ContractHost.HttpHost);

public sealed class MinimalApiDescriptionTests() : DescriptionTests(ContractHost.MinimalApi);
