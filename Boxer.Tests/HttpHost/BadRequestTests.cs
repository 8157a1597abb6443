using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;

namespace Boxer.Tests.HttpHost;

/// <summary>Tests of invalid bodies of POST /run: each gets its message, and none reaches the runner.</summary>
public abstract class BadRequestTests(ContractHost contract) : ContractTests(contract)
{
    private const string Known = "image, cmd, env, cwd, limits, files, inputs, workspace, workspace_out, stdin, stdin_base64, merge_stderr, terminal, stop_grace_ms, user, persist, outputs, network, egress, pull";
    private const string KnownLimits = "cpu_cores, memory_mb, pids_limit, wall_clock_secs, cpu_time_secs, nofile, disk_mb";

    public static TheoryData<string, string> Bodies
    {
        get
        {
            TheoryData<string, string> bodies = new()
            {
                { "[]", "the body must be a JSON object, not a list." },
                { "12", "the body must be a JSON object, not 12." },
                { "null", "the body must be a JSON object, not null." },
                { "{}", "image: is missing; name an image such as python:3.12-slim. cmd: is missing; list the program and its arguments." },
                { """{"image": "", "cmd": []}""", "image: is empty; name an image such as python:3.12-slim. cmd: is empty; list the program and its arguments." },
                { """{"image": null, "cmd": null}""", "image: is missing; name an image such as python:3.12-slim. cmd: is missing; list the program and its arguments." },
                { """{"image": 5, "cmd": "sh"}""", "image: must be a text, not 5. cmd: must be a list of texts, not \"sh\"." },
                { """{"image": "i\u0000", "cmd": ["a\u0000b", 3, null]}""", "image: has a NUL character; remove it. cmd[0]: has a NUL character; remove it. cmd[1]: must be a text, not 3. cmd[2]: must be a text, not null." },
                { """{"image": "i", "cmd": [""]}""", "cmd[0]: is empty; name a program." },
                { """{"image": "i", "cmd": ["\ud800"]}""", "cmd[0]: is not valid Unicode; remove the unpaired surrogate." },
            };
            Add("\"env\": [\"A\", \"=v\", \"A\\u0000=1\", 7]", "env[2]: has a NUL character; remove it. env[3]: must be a text, not 7. env[0]: must be NAME=value with a NAME that is not empty. env[1]: must be NAME=value with a NAME that is not empty.");
            Add("\"cwd\": \"relative\"", "cwd: must be an absolute path, not \"relative\".");
            Add("\"cwd\": 1", "cwd: must be a text, not 1.");
            Add("\"cwd\": \"/a\\u0000\"", "cwd: has a NUL character; remove it.");
            Add("\"stdin\": []", "stdin: must be a text, not a list.");
            Add("\"user\": 1000", "user: must be a text, not 1000.");
            Add("\"env\": {\"\": \"a\", \"A=B\": \"b\", \"C\": 1}", "env: has the name \"\"; a name must not be empty, and have neither = nor NUL. env: has the name \"A=B\"; a name must not be empty, and have neither = nor NUL. env.C: must be a text, not 1.");
            Add("\"env\": 5", "env: must be a list of texts or an object, not 5.");
            Add("\"outputs\": \"all\"", "outputs: must be none, inline or keep, not \"all\".");
            Add("\"stdin_base64\": \"%\"", "stdin_base64: must be a text in base64, not \"%\".");
            Add("\"stdin_base64\": \"YQ==\", \"stdin\": \"\"", "stdin_base64: cannot be combined with stdin; leave one of them.");
            Add("\"merge_stderr\": 1", "merge_stderr: must be true or false, not 1.");
            Add("\"terminal\": [80, 24]", "terminal: must be an object with cols and rows, not a list.");
            Add("\"terminal\": {\"cols\": 0, \"row\": 1}", "terminal.row: is not a field of the request; did you mean rows? terminal.cols: must be a whole number from 1 to 65535, not 0. terminal.rows: is missing; give the number of rows.");
            Add("\"stop_grace_ms\": 60001", "stop_grace_ms: must be a whole number from 0 to 60000, not 60001.");
            Add("\"stop_grace_ms\": -1", "stop_grace_ms: must be a whole number from 0 to 60000, not -1.");
            Add("\"stop_grace_ms\": 0.5", "stop_grace_ms: must be a whole number from 0 to 60000, not 0.5.");
            Add("\"persist\": \"yes\"", "persist: must be true or false, not \"yes\".");
            Add("\"network\": \"bridge\"", "network: \"bridge\" is not a network of this host; use one of none, sandbox, host.");
            Add("\"network\": false", "network: must be a text, not false.");
            Add("\"limits\": []", "limits: must be an object, not a list.");
            Add("\"limits\": {\"memory\": 1}", "limits.memory: is not a field of the request; did you mean memory_mb?");
            Add("\"limits\": {\"fuel\": 1}", $"limits.fuel: is not a field of the request; remove it or use one of {KnownLimits}.");
            Add("\"limits\": {\"memory_mb\": -1}", "limits.memory_mb: must be a whole number from 32 to 1048576, or 0 for the default, not -1.");
            Add("\"limits\": {\"memory_mb\": 256.5}", "limits.memory_mb: must be a whole number from 32 to 1048576, or 0 for the default, not 256.5.");
            Add("\"limits\": {\"memory_mb\": \"256\"}", "limits.memory_mb: must be a whole number from 32 to 1048576, or 0 for the default, not \"256\".");
            Add("\"limits\": {\"memory_mb\": 1e300}", "limits.memory_mb: must be a whole number from 32 to 1048576, or 0 for the default, not 1e300.");
            Add("\"limits\": {\"pids_limit\": 32769}", "limits.pids_limit: must be a whole number from 1 to 32768, or 0 for the default, not 32769.");
            Add("\"limits\": {\"wall_clock_secs\": -0.5}", "limits.wall_clock_secs: must be a number from 0.001 to 86400, or 0 for the default, not -0.5.");
            Add("\"limits\": {\"wall_clock_secs\": 86401}", "limits.wall_clock_secs: must be a number from 0.001 to 86400, or 0 for the default, not 86401.");
            Add("\"limits\": {\"cpu_time_secs\": -1}", "limits.cpu_time_secs: must be a number from 0.01 to 86400, or 0 for the default, not -1.");
            Add("\"limits\": {\"cpu_time_secs\": 0.009}", "limits.cpu_time_secs: must be a number from 0.01 to 86400, or 0 for the default, not 0.009.");
            Add("\"limits\": {\"cpu_time_secs\": 86400.1}", "limits.cpu_time_secs: must be a number from 0.01 to 86400, or 0 for the default, not 86400.1.");
            Add("\"limits\": {\"cpu_time_secs\": \"2\"}", "limits.cpu_time_secs: must be a number from 0.01 to 86400, or 0 for the default, not \"2\".");
            Add("\"limits\": {\"cpu_cores\": 0.001}", "limits.cpu_cores: must be a number from 0.01 to 1024, or 0 for the default, not 0.001.");
            Add("\"limits\": {\"nofile\": 3}", "limits.nofile: must be a whole number from 8 to 1048576, or 0 for the default, not 3.");
            Add("\"limits\": {\"disk_mb\": true}", "limits.disk_mb: must be a whole number from 1 to 1048576, or 0 for the default, not true.");
            Add("\"pull\": \"sometimes\"", "pull: must be missing, always or never, not \"sometimes\".");
            Add("\"command\": [\"sh\"]", $"command: is not a field of the request; remove it or use one of {Known}.");
            Add("\"files\": \"a\"", "files: must be a list of texts, not \"a\".");
            Add("\"files\": [\"never\"]", "files[0]: 'never' was not uploaded, or was deleted after a run that did not persist; upload it first.");
            Add("\"files\": [\"a\", \"a\"]", "files[0]: 'a' was not uploaded, or was deleted after a run that did not persist; upload it first. files[1]: 'a' is listed twice; list each file once.");
            Add("\"files\": [\"\"]", "files[0]: The path is empty; give a relative path such as job/main.py.");
            Add("\"files\": [\"/etc/passwd\"]", "files[0]: The path is absolute; give it without the leading slash.");
            Add("\"files\": [\"a/../b\"]", "files[0]: The path has the name ..; give the path without it.");
            Add("\"files\": [\"output/x/y\"]", "files[0]: 'output/x/y' is an output; download it and upload it under another path.");
            Add($"\"files\": [{string.Join(',', Enumerable.Repeat("\"a\"", 1_001))}]", "files: has 1001 entries; at most 1000 are allowed.");
            Add("\"inputs\": {}", "inputs: must be a list of objects with path and content, not an object.");
            Add("\"inputs\": [1, {}]", "inputs[0]: must be an object with path and content, not 1. inputs[1].path: is missing; give a relative path such as src/main.py.");
            Add("\"inputs\": [{\"path\": 1, \"content\": 2, \"executable\": 3}]", "inputs[0].path: must be a text, not 1. inputs[0].content: must be a text, not 2. inputs[0].executable: must be true or false, not 3.");
            Add("\"inputs\": [{\"path\": \"a\", \"content\": \"\", \"content_base64\": \"%\"}]", "inputs[0].content_base64: cannot be combined with content; leave one of them. inputs[0].content_base64: must be a text in base64, not \"%\".");
            Add("\"inputs\": [{\"path\": \"a\", \"mode\": 1}]", "inputs[0].mode: is not a field of the request; remove it or use one of path, content, content_base64, executable.");
            Add("\"workspace\": \"/w\"", "workspace: must be an object, not \"/w\".");
            Add("\"workspace\": {\"dir\": \"/w\"}", "workspace.dir: is not a field of the request; remove it or use one of path, uploads, files, archive.");
            Add("\"workspace\": {\"path\": 1, \"uploads\": \"a\", \"files\": [2], \"archive\": 3}", "workspace.path: must be a text, not 1. workspace.uploads: must be a list of texts, not \"a\". workspace.files[0]: must be an object with path and content, not 2. workspace.archive: must be a text, not 3.");
            Add("\"workspace\": {\"uploads\": [\"never/\", \"../a\"], \"archive\": \"never.tar\"}", "workspace.uploads[0]: 'never' was not uploaded, or was deleted after a run that did not persist; upload it first. workspace.uploads[1]: The path has the name ..; give the path without it. workspace.archive: 'never.tar' was not uploaded, or was deleted after a run that did not persist; upload it first.");
            Add("\"workspace_out\": true", "workspace_out: needs a workspace; add one, which may be {}.");
            return bodies;

            void Add(string member, string error) => bodies.Add($$"""{"image": "i", "cmd": ["a"], {{member}}}""", error);
        }
    }

    [Theory]
    [MemberData(nameof(Bodies))]
    public async Task An_invalid_body_gets_all_its_faults(string body, string error)
    {
        await using HostFixture host = await StartAsync();

        Answer answer = await host.RunAsync(body);

        Assert.Equal(400, answer.Status);
        Assert.Equal(error, answer.Error);
        Assert.Empty(host.Runner.Requests);
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("{'image': 1}")]
    [InlineData("""{"image": "a", "image": "b", "cmd": ["x"]}""")]
    [InlineData("""{"image": "a", "cmd": ["x"]} x""")]
    [InlineData("""{"image": "a", "cmd": ["x"],}""")]
    [InlineData("""{"image": "a", /* no */ "cmd": ["x"]}""")]
    [InlineData("""{"image": "a", "cmd": ["x"], "limits": {"cpu_cores": NaN}}""")]
    public async Task A_body_that_is_not_JSON_is_reported_as_such(string body)
    {
        await using HostFixture host = await StartAsync();

        Answer answer = await host.RunAsync(body);

        Assert.Equal(400, answer.Status);
        Assert.StartsWith("the body is not valid JSON: ", answer.Error, StringComparison.Ordinal);
        Assert.Empty(host.Runner.Requests);
    }

    [Fact]
    public async Task Long_names_are_shortened_in_errors()
    {
        await using HostFixture host = await StartAsync();

        Answer answer = await host.RunAsync($$"""{"image": "i", "cmd": ["a"], "env": {"{{new string('n', 100_000)}}": 1, "{{new string('m', 100_000)}}=": "x"} }""");

        Assert.Equal(400, answer.Status);
        Assert.InRange(answer.Text.Length, 1, 1_000);
    }

    [Fact]
    public async Task A_syntax_error_is_reported_with_its_position()
    {
        await using HostFixture host = await StartAsync();

        Answer answer = await host.RunAsync("{\"image\": \"i\",\n  \"cmd\" [\"a\"]}");

        Assert.StartsWith("the body is not valid JSON: line 2, byte 9: ", answer.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Names_that_are_not_valid_Unicode_are_rejected()
    {
        await using HostFixture host = await StartAsync();

        Answer surrogate = await host.RunAsync("""{"image": "i", "cmd": ["a"], "\udc00": 1}""");
        byte[] bytes = [.. "{\"image\": \"i\", \"cmd\": [\""u8, 0xff, 0xfe, .. "\"]}"u8];
        Answer broken = await host.PostAsync("/run", new ByteArrayContent(bytes));

        Assert.Equal(400, surrogate.Status);
        Assert.Equal(400, broken.Status);
        Assert.Empty(host.Runner.Requests);
    }

    [Theory]
    [InlineData("\"image\": \"\u00ff\"")]
    [InlineData("\"image\": \"i\", \"persist\": \"\u00ff\"")]
    [InlineData("\"image\": \"i\", \"limits\": {\"memory_mb\": \"\u00ff\"}")]
    [InlineData("\"image\": \"i\", \"limits\": {\"\u00ff\": 1}")]
    [InlineData("\"image\": \"i\", \"limits\": {\"\\ud800\": 1}")]
    [InlineData("\"image\": \"i\", \"env\": {\"\\ud800\": \"x\"}")]
    [InlineData("\"image\": \"i\", \"stdin_base64\": \"\u00ff\"")]
    [InlineData("\"image\": \"i\", \"stdin_base64\": \"\\ud800\"")]
    [InlineData("\"image\": \"i\", \"inputs\": [{\"path\": \"a\", \"content_base64\": \"\\ud800\"}]")]
    [InlineData("\"image\": \"i\", \"inputs\": \"\u00ff\"")]
    [InlineData("\"image\": \"i\", \"stop_grace_ms\": \"\\ud800\"")]
    [InlineData("\"image\": \"i\", \"egress\": {\"allow\": \"\u00ff\"}")]
    public async Task Strings_that_are_not_valid_Unicode_are_400_everywhere(string members)
    {
        await using HostFixture host = await StartAsync();

        Answer answer = await host.PostAsync("/run", new ByteArrayContent(Encoding.Latin1.GetBytes($"{{\"cmd\": [\"a\"], {members}}}")));

        Assert.Equal(400, answer.Status);
        Assert.Empty(host.Runner.Requests);
    }

    [Fact]
    public async Task A_deeply_nested_body_is_rejected()
    {
        await using HostFixture host = await StartAsync();

        Answer answer = await host.RunAsync("{\"image\": \"i\", \"cmd\": " + new string('[', 100_000) + new string(']', 100_000) + "}");

        Assert.Equal(400, answer.Status);
        Assert.StartsWith("the body is not valid JSON: ", answer.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_large_body_is_413_with_and_without_a_declared_length(bool chunked)
    {
        await using HostFixture host = await StartAsync(new JsonObject { ["run_body_limit_bytes"] = 4_096 });
        string body = $$"""{"image": "i", "cmd": ["a"], "stdin": "{{new string('x', 8_192)}}"}""";
        HttpContent content = chunked
            ? new StreamContent(new UnseekableStream(Encoding.UTF8.GetBytes(body)))
            : new StringContent(body);

        Answer answer = await host.PostAsync("/run", content);

        Assert.Equal(413, answer.Status);
        Assert.Equal(chunked ? "the body is too large." : "the body has more than 4096 bytes; upload what is large with POST /files.", answer.Error);
        Assert.Empty(host.Runner.Requests);
    }

    [Theory]
    [InlineData("/run", "{}")]
    [InlineData("/files", "--b\r\n")]
    public async Task A_client_that_sends_far_too_much_sees_the_answer_while_it_still_sends(string path, string start)
    {
        await using HostFixture host = await StartAsync(new JsonObject { ["run_body_limit_bytes"] = 4_096, ["upload_limit_bytes"] = 4_096 });
        const int Bytes = 40 << 20;
        using var client = new TcpClient();
        await client.ConnectAsync(host.Address.Host, host.Address.Port, TestContext.Current.CancellationToken);
        NetworkStream stream = client.GetStream();
        await stream.WriteAsync(Encoding.ASCII.GetBytes($"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {Bytes}\r\n\r\n{start}"), TestContext.Current.CancellationToken);
        byte[] block = new byte[1 << 20];
        for (int sent = start.Length; sent < Bytes; sent += block.Length)
        {
            await stream.WriteAsync(block.AsMemory(0, Math.Min(block.Length, Bytes - sent)), TestContext.Current.CancellationToken);
        }

        using var reader = new StreamReader(stream, Encoding.ASCII);
        Assert.Equal("HTTP/1.1 413 Payload Too Large", await reader.ReadLineAsync(TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Requests_beyond_the_run_limit_are_rejected_before_their_bodies_are_read()
    {
        await using HostFixture host = await StartAsync(new JsonObject { ["max_concurrent_runs"] = 1, ["max_queued_runs"] = 1 });
        TaskCompletionSource started = new(), ended = new();
        host.Runner.Script = (_, token) => RunTests.WaitForEnd(started, ended, token);
        using HttpClient runs = host.NewClient();
        Task<Answer>[] three = [.. Enumerable.Range(0, 3).Select(_ => host.RunAsync("""{"image": "i", "cmd": ["a"]}""", runs))];
        while (host.Runner.Requests.Count < 3)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(10), TimeProvider.System, TestContext.Current.CancellationToken);
        }

        using RawClient client = await RawClient.ConnectAsync(host.Address);
        await client.SendAsync("POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n");

        Assert.Equal("HTTP/1.1 429 Too Many Requests", await client.ReadStatusAsync());
        Answer answer = await host.RunAsync("""{"image": "i", "cmd": ["a"]}""");
        Assert.Equal((429, "too many runs are queued: try again later."), (answer.Status, answer.Error));
        Assert.Equal(TimeSpan.FromSeconds(1), answer.Response.Headers.RetryAfter?.Delta);
        runs.CancelPendingRequests();
        await Task.WhenAll(three).ContinueWith(_ => { }, TestContext.Current.CancellationToken, TaskContinuationOptions.None, TaskScheduler.Default);
    }

    [Fact]
    public async Task Many_faults_get_a_short_response()
    {
        await using HostFixture host = await StartAsync();

        Answer answer = await host.RunAsync($$"""{"image": "i", "cmd": [{{string.Join(',', Enumerable.Repeat("1", 10_000))}}]}""");

        Assert.Equal(400, answer.Status);
        Assert.EndsWith("cmd[49]: must be a text, not 1. There are further faults.", answer.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("GET", "/run", 405)]
    [InlineData("GET", "/", 404)]
    [InlineData("GET", "/etc/passwd", 404)]
    [InlineData("PUT", "/files", 405)]
    public async Task Unknown_paths_and_methods_get_JSON_errors(string method, string path, int status)
    {
        await using HostFixture host = await StartAsync();
        using HttpRequestMessage request = new(new HttpMethod(method), new Uri(path, UriKind.Relative));

        using HttpResponseMessage response = await host.Client.SendAsync(request, TestContext.Current.CancellationToken);
        Answer answer = await Answer.ReadAsync(response);

        Assert.Equal(status, answer.Status);
        Assert.NotEmpty(answer.Error);
    }

    private sealed class UnseekableStream(byte[] content) : MemoryStream(content)
    {
        public override bool CanSeek => false;
    }
}

public sealed class HttpHostBadRequestTests() : BadRequestTests(ContractHost.HttpHost);

public sealed class MinimalApiBadRequestTests() : BadRequestTests(ContractHost.MinimalApi);
