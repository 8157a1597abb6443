using System.Text.Json.Nodes;

namespace Boxer.Tests.HttpHost;

/// <summary>Health, metrics and the description of the API.</summary>
public abstract class DescriptionTests(ContractHost contract) : ContractTests(contract)
{
    [Fact]
    public async Task Health_is_as_the_contract_has_it()
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
    public async Task Metrics_are_in_the_form_of_Prometheus()
    {
        await using HostFixture host = await StartAsync();
        await host.GetAsync("/healthz");

        Answer answer = await host.GetAsync("/metrics");

        Assert.Equal(200, answer.Status);
        Assert.Contains("# TYPE http_server_request_duration_seconds histogram", answer.Text, StringComparison.Ordinal);
        Assert.Contains("service_name=\"boxer\"", answer.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_description_names_every_path_and_field()
    {
        await using HostFixture host = await StartAsync();

        JsonNode document = (await host.GetAsync("/openapi/v1.json")).Json;

        Assert.Equal(
            ["/files", "/health/ready", "/healthz", "/run", "/run/stream"],
            document["paths"]!.AsObject().Select(path => path.Key).Order(StringComparer.Ordinal));
        JsonNode schemas = document["components"]!["schemas"]!;
        Assert.Equal(
            ["image", "cmd", "env", "cwd", "limits", "files", "inputs", "workspace", "workspace_out", "stdin", "stdin_base64", "merge_stderr", "stop_grace_ms", "user", "persist", "outputs", "network", "pull", "egress"],
            Properties("RunRequestBody"));
        Assert.Equal(["path", "uploads", "files", "archive"], Properties("WorkspaceBody"));
        Assert.Equal(["path", "content", "content_base64", "executable"], Properties("InputBody"));
        Assert.Equal(["cpu_cores", "memory_mb", "pids_limit", "wall_clock_secs", "cpu_time_secs", "nofile", "disk_mb"], Properties("LimitsBody"));
        Assert.Superset(
            new HashSet<string>(["exec_id", "exit_code", "stdout", "stderr", "wall_ms", "termination", "timings_ms", "outputs"], StringComparer.Ordinal),
            Properties("RunResponseBody").ToHashSet(StringComparer.Ordinal));
        Assert.Equal(["cpu_ms", "command_cpu_ms", "sandbox_cpu_ms", "peak_memory_bytes", "max_rss_bytes"], Properties("UsageBody"));
        Assert.Superset(new HashSet<string>(["error", "exec_id", "stdout", "stderr"], StringComparer.Ordinal), Properties("ErrorBody").ToHashSet(StringComparer.Ordinal));
        Assert.Equal(["image", "cmd"], schemas["RunRequestBody"]!["required"]!.AsArray().Select(name => (string)name!));
        Assert.Equal("path", (string)document["paths"]!["/files"]!["get"]!["parameters"]![0]!["name"]!);
        Assert.Equal("""["array","object","null"]""", new JsonArray([.. schemas["RunRequestBody"]!["properties"]!["env"]!["oneOf"]!.AsArray().Select(kind => kind!["type"]!.DeepClone())]).ToJsonString());
        Assert.Contains("MiB", (string)schemas["LimitsBody"]!["properties"]!["memory_mb"]!["description"]!, StringComparison.Ordinal);

        IEnumerable<string> Properties(string schema) => schemas[schema]!["properties"]!.AsObject().Select(property => property.Key);
    }

    [Fact]
    public async Task Swagger_shows_the_description()
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
