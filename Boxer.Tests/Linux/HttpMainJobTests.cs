using System.Formats.Tar;
using System.Net.Http.Json;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>The main job over HTTP: the host as a process of its own, with real sandboxes.</summary>
[Collection(Sandboxes.Name)]
public sealed class HttpMainJobTests(SharedHost shared) : IClassFixture<SharedHost>, IAsyncLifetime
{
    private HostProcess? _host;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private HttpClient Client => _host!.Client;

    public async ValueTask InitializeAsync()
    {
        _host = await shared.StartAsync(new JsonObject { ["api_keys"] = new JsonArray("first", "second"), ["stop_grace_secs"] = 1 });
        Client.DefaultRequestHeaders.Authorization = new("Bearer", "first");
    }

    public async ValueTask DisposeAsync() => await shared.EndTestAsync();

    [Fact]
    public async Task An_uploaded_script_runs_and_only_its_key_can_download_the_output()
    {
        await UploadAsync("job/main.py", """
            import os, sys
            os.makedirs("/output/a")
            open("/output/a/all.bin", "wb").write(bytes(range(256)) * 100)
            print(sys.stdin.read(), os.getuid(), os.environ["GREETING"], os.getcwd())
            """);

        (int status, JsonNode answer) = await RunAsync(new JsonObject
        {
            ["cmd"] = new JsonArray("python3", "/job/main.py"),
            ["files"] = new JsonArray("job/main.py"),
            ["env"] = new JsonArray("GREETING=hello=you"),
            ["stdin"] = "ä",
            ["cwd"] = "/work",
            ["user"] = "1000:1000",
            ["persist"] = true,
        });

        Assert.Equal((200, "ä 1000 hello=you /work\n", ""), (status, (string?)answer["stdout"], (string?)answer["stderr"]));
        string path = $"output/{(string?)answer["exec_id"]}/a/all.bin";
        Assert.Equal(path, (string?)answer["outputs"]![0]!["path"]);
        byte[] content = await Client.GetByteArrayAsync(new Uri($"/files?path={path}", UriKind.Relative), Cancel);
        Assert.Equal([.. Enumerable.Range(0, 25_600).Select(i => (byte)i)], content);
        using HttpClient other = _host!.NewClient("second");
        using HttpResponseMessage foreign = await other.GetAsync(new Uri($"/files?path={path}", UriKind.Relative), Cancel);
        Assert.Equal(404, (int)foreign.StatusCode);
    }

    [Fact]
    public async Task An_upload_can_be_executed_and_not_written()
    {
        await UploadAsync("job/run.sh", "#!/bin/sh\nstat -c %a /job/run.sh; echo more >>/job/run.sh || echo refused\n");

        (int status, JsonNode answer) = await RunAsync(new JsonObject { ["cmd"] = new JsonArray("/job/run.sh"), ["files"] = new JsonArray("job/run.sh") });

        Assert.Equal((200, 0, "555\nrefused\n"), (status, (int?)answer["exit_code"], (string?)answer["stdout"]));
    }

    [Fact]
    public async Task Run_accepts_variables_as_an_object_and_can_merge_standard_error()
    {
        (int status, JsonNode answer) = await RunAsync(new JsonObject
        {
            ["cmd"] = new JsonArray("sh", "-c", "echo one; echo $A >&2; echo three"),
            ["env"] = new JsonObject { ["A"] = "x=y", ["EMPTY"] = "" },
            ["merge_stderr"] = true,
        });

        Assert.Equal((200, "one\nx=y\nthree\n", ""), (status, (string?)answer["stdout"], (string?)answer["stderr"]));
    }

    [Fact]
    public async Task A_workspace_of_uploads_files_and_an_archive_is_written_and_returned()
    {
        await UploadAsync("job/src/a.c", "of an upload\n");
        await UploadAsync("job/b", "of an upload\n");
        await UploadAsync("job/tree.tar", Encoding.Latin1.GetString(new Archive().File("job/b", "of the archive\n").Directory("empty").Link("l", "job/b").ToBytes()));
        var request = new JsonObject
        {
            ["cmd"] = new JsonArray("sh", "-c", "pwd; cat job/src/a.c job/b l x; cat /job/y; ls -d empty; echo changed > job/b; mkdir made; echo y > made/y"),
            ["inputs"] = new JsonArray(new JsonObject { ["path"] = "job/y", ["content"] = "read-only\n" }),
            ["workspace"] = new JsonObject
            {
                ["path"] = "/w",
                ["uploads"] = new JsonArray("job/src", "job/b"),
                ["files"] = new JsonArray(new JsonObject { ["path"] = "x", ["content_base64"] = "eAo=" }, new JsonObject { ["path"] = "job/b", ["content"] = "of a file\n" }),
                ["archive"] = "job/tree.tar",
            },
            ["workspace_out"] = true,
        };

        (int status, JsonNode answer) = await RunAsync(request);

        Assert.Equal((200, "/w\nof an upload\nof the archive\nof the archive\nx\nread-only\nempty\n", ""), (status, (string?)answer["stdout"], (string?)answer["stderr"]));
        Assert.Null(answer["workspace_incomplete"]);
        using var reader = new TarReader(new MemoryStream(Convert.FromBase64String((string)answer["workspace_base64"]!)));
        List<string> names = [];
        while (reader.GetNextEntry() is { } entry)
        {
            names.Add(entry.Name.TrimEnd('/'));
        }

        Assert.Equal(["job/b", "made", "made/y"], names.Order(StringComparer.Ordinal));

        // The uploads belonged to the run, like uploads of files.
        (status, answer) = await RunAsync(request);
        Assert.Equal((400, "workspace.uploads[0]: 'job/src' was not uploaded"), (status, ((string)answer["error"]!)[..48]));
    }

    [Theory]
    [InlineData("""{"workspace": {"path": "/proc/x"}}""", "workspace.path: '/proc/x' is '/proc' or below it, which is reserved; choose another directory.")]
    [InlineData("""{"workspace": {"files": [{"path": "a"}, {"path": "/b"}]}}""", "workspace.files[1].path: '/b' must be relative: it appears at the workspace and that path.")]
    [InlineData("""{"inputs": [{"path": "a"}, {"path": "proc/b"}]}""", "inputs[1].path: 'proc/b' is under 'proc/', which is reserved; choose another directory.")]
    [InlineData("""{"workspace": {"files": [{"path": "a"}, {"path": "a/b"}]}}""", "workspace.files: 'a' is both a file and the directory of another file.")]
    [InlineData("""{"workspace": {"archive": "bad.tar"}}""", "workspace.archive: the entry \"l\" is refused: it is a link to \"/etc\", which is outside of the workspace.")]
    [InlineData("""{"workspace": {"path": "/etc/passwd"}}""", "the workspace /etc/passwd cannot be made in this image: Not a directory; choose another path")]
    public async Task Errors_of_a_workspace_name_the_field_of_the_request(string body, string error)
    {
        await UploadAsync("bad.tar", Encoding.Latin1.GetString(new Archive().Link("l", "/etc").ToBytes()));
        JsonObject request = JsonNode.Parse(body)!.AsObject();
        request["cmd"] = new JsonArray("true");

        (int status, JsonNode answer) = await RunAsync(request);

        Assert.Equal((400, error), (status, (string?)answer["error"]));
    }

    [Fact]
    public async Task Outputs_are_discarded_with_a_notice_returned_or_kept()
    {
        const string Script = "cd /output; umask 0; mkdir d; printf abc >d/a; : >empty; ln -s a link; touch -d 2001-09-09T01:46:40.5Z d/a; chmod 750 d/a";
        (int _, JsonNode none) = await RunAsync(new JsonObject { ["cmd"] = new JsonArray("true") });
        (int _, JsonNode dropped) = await RunAsync(new JsonObject { ["cmd"] = new JsonArray("sh", "-c", Script) });
        (int _, JsonNode inline) = await RunAsync(new JsonObject { ["cmd"] = new JsonArray("sh", "-c", Script), ["outputs"] = "inline" });
        (int _, JsonNode kept) = await RunAsync(new JsonObject { ["cmd"] = new JsonArray("sh", "-c", Script), ["outputs"] = "keep" });

        Assert.Equal((null, null), ((int?)none["outputs_dropped"], (string?)none["outputs_incomplete"]));
        Assert.Equal((3, 0, null), ((int?)dropped["outputs_dropped"], dropped["outputs"]!.AsArray().Count, (string?)dropped["outputs_incomplete"]));
        Assert.Equal(
            """[{"path":"d/a","size":3,"mode":"0750","modified_at":"2001-09-09T01:46:40.5+00:00","content_base64":"YWJj"},{"path":"empty","size":0,"mode":"0666","content_base64":""}]""",
            Sorted(inline, without: "empty"));
        Assert.Equal("1 entries were neither files nor directories.", (string?)inline["outputs_incomplete"]);
        string folder = $"output/{(string?)kept["exec_id"]}";
        Assert.Equal(
            $$"""[{"path":"{{folder}}/d/a","size":3,"mode":"0750","modified_at":"2001-09-09T01:46:40.5+00:00"},{"path":"{{folder}}/empty","size":0,"mode":"0666"}]""",
            Sorted(kept, without: "empty"));
        Assert.Equal("abc", await Client.GetStringAsync(new Uri($"/files?path={folder}/d/a", UriKind.Relative), Cancel));
    }

    [Fact]
    public async Task Outputs_that_are_too_large_for_the_response_are_omitted_and_reported()
    {
        (int status, JsonNode answer) = await RunAsync(new JsonObject
        {
            ["cmd"] = new JsonArray("sh", "-c", "head -c 4194305 /dev/zero >/output/large; head -c 4194304 /dev/zero >/output/small"),
            ["outputs"] = "inline",
        });

        Assert.Equal((200, "exited"), (status, (string?)answer["termination"]));
        Assert.Equal(("small", 4_194_304), ((string?)answer["outputs"]![0]!["path"], Convert.FromBase64String((string)answer["outputs"]![0]!["content_base64"]!).Length));
        Assert.Equal("1 files did not fit in the limit of bytes.", (string?)answer["outputs_incomplete"]);

        (_, answer) = await RunAsync(new JsonObject { ["cmd"] = new JsonArray("sh", "-c", "cd /output; seq 101 | xargs touch"), ["outputs"] = "inline" });

        Assert.Equal((100, "There were more files and directories than the limit."), (answer["outputs"]!.AsArray().Count, (string?)answer["outputs_incomplete"]));
    }

    [Fact]
    public async Task A_command_has_its_stop_grace()
    {
        (int status, JsonNode answer) = await RunAsync(new JsonObject
        {
            ["cmd"] = new JsonArray("sh", "-c", "trap 'echo bye; exit' TERM; while :; do sleep 0.1; done"),
            ["stop_grace_ms"] = 20_000,
            ["limits"] = new JsonObject { ["wall_clock_secs"] = 3 },
        });

        Assert.Equal((408, "bye\n"), (status, (string?)answer["stdout"]));
    }

    [Fact]
    public async Task Exits_signals_and_limits_are_distinguished()
    {
        (int status, JsonNode answer) = await PythonAsync("import sys; print('wrong', file=sys.stderr); sys.exit(7)");
        Assert.Equal((200, 7, "exited", "wrong\n"), (status, (int?)answer["exit_code"], (string?)answer["termination"], (string?)answer["stderr"]));

        (status, answer) = await PythonAsync("import os; os.kill(os.getpid(), 11)");
        Assert.Equal((200, 139, "signaled", 11), (status, (int?)answer["exit_code"], (string?)answer["termination"], (int?)answer["signal"]));

        (status, answer) = await PythonAsync("import os; print(os.write(1, bytes([0xff])))");
        Assert.Equal((200, "\ufffd1\n", "/zEK"), (status, (string?)answer["stdout"], (string?)answer["stdout_base64"]));

        (status, answer) = await RunAsync(new JsonObject { ["cmd"] = new JsonArray("no-such-command") });
        Assert.Equal((400, "not_started"), (status, (string?)answer["termination"]));
        Assert.Contains("no-such-command", (string?)answer["error"], StringComparison.Ordinal);

        (status, answer) = await RunAsync(new JsonObject { ["image"] = "no/such-image", ["cmd"] = new JsonArray("true") });
        Assert.Equal(404, status);
        Assert.Contains("no/such-image", (string?)answer["error"], StringComparison.Ordinal);

        (status, answer) = await PythonAsync("print('before', flush=True); import time; time.sleep(60)", new JsonObject { ["wall_clock_secs"] = 5 });
        Assert.Equal((408, "before\n", "wall_clock_limit"), (status, (string?)answer["stdout"], (string?)answer["termination"]));
        Assert.StartsWith("boxer-", (string?)answer["exec_id"], StringComparison.Ordinal);

        Assert.InRange((double)answer["usage"]!["cpu_ms"]!, 1, 60_000);
        Assert.InRange((long)answer["usage"]!["peak_memory_bytes"]!, 1 << 20, 256 << 20);

        (status, answer) = await PythonAsync("while True: print('x' * 10000)");
        Assert.Equal((507, 10_485_760), (status, ((string?)answer["stdout"])!.Length));
        Assert.InRange((double)answer["usage"]!["cpu_ms"]!, 1, 60_000);

        (status, answer) = await PythonAsync("print('before', flush=True)\nwhile True: pass", new JsonObject { ["cpu_time_secs"] = 2 });
        Assert.Equal((200, 137, "cpu_time_limit", "before\n"), (status, (int?)answer["exit_code"], (string?)answer["termination"], (string?)answer["stdout"]));
        Assert.Equal("boxer: killed: the sandbox reached its cpu-time limit of 2 s\n", (string?)answer["stderr"]);
        Assert.True((double)answer["usage"]!["cpu_ms"]! >= 2_000);

        (status, answer) = await PythonAsync("x = bytearray(400 << 20)", new JsonObject { ["memory_mb"] = 100 });
        Assert.Equal((200, 137, "memory_limit"), (status, (int?)answer["exit_code"], (string?)answer["termination"]));
        Assert.Contains("memory", (string?)answer["stderr"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Every_listed_output_can_be_downloaded_and_deleted_even_the_deepest_and_longest()
    {
        // Boxer walks 64 levels of directories at most. The paths of the files have 3,841 to 4,095 bytes: some are too long for the host's disk.
        (int status, JsonNode answer) = await RunAsync(new JsonObject
        {
            ["cmd"] = new JsonArray("python3", "-c", """
                import os
                os.chdir("/output")
                for _ in range(64):
                    os.mkdir("d" * 59)
                    os.chdir("d" * 59)
                for length in range(1, 256):
                    open("f" * length, "w").write(str(length))
                os.mkdir("below")
                open("below/f", "w").write("x")
                """),
            ["persist"] = true,
        });

        Assert.Equal((200, 0), (status, (int?)answer["exit_code"]));
        string incomplete = (string?)answer["outputs_incomplete"] ?? "";
        Assert.Contains("1 directories were nested too deep.", incomplete, StringComparison.Ordinal);
        Assert.Contains("paths were too long for the directory on this host.", incomplete, StringComparison.Ordinal);
        string[] paths = [.. answer["outputs"]!.AsArray().Select(output => (string)output!["path"]!)];
        Assert.InRange(paths.Length, 1, 254);
        foreach (string path in paths)
        {
            Assert.Equal(67, path.Split('/').Length);
            using HttpResponseMessage got = await Client.GetAsync(FileAt(path), Cancel);
            Assert.Equal((200, $"{path.Split('/')[^1].Length}"), ((int)got.StatusCode, await got.Content.ReadAsStringAsync(Cancel)));
        }

        foreach (string path in (string[])[paths.MaxBy(path => path.Length)!, $"output/{(string?)answer["exec_id"]}"])
        {
            using HttpResponseMessage deleted = await Client.DeleteAsync(FileAt(path), Cancel);
            Assert.Equal(200, (int)deleted.StatusCode);
        }

        using HttpResponseMessage gone = await Client.GetAsync(FileAt(paths[0]), Cancel);
        Assert.Equal(404, (int)gone.StatusCode);

        static Uri FileAt(string path) => new($"/files?path={Uri.EscapeDataString(path)}", UriKind.Relative);
    }

    [Fact]
    public async Task More_processors_than_the_machine_has_are_rejected_with_the_name_of_the_limit()
    {
        (int status, JsonNode answer) = await PythonAsync("", new JsonObject { ["cpu_cores"] = Environment.ProcessorCount + 0.5 });

        Assert.Equal((400, $"limits.cpu_cores: is {Environment.ProcessorCount}.5, but this machine has {Environment.ProcessorCount} processors; ask for at most {Environment.ProcessorCount}."), (status, (string?)answer["error"]));
    }

    [Fact]
    public async Task Eight_concurrent_runs_get_their_own_results()
    {
        (int Status, JsonNode Answer)[] answers = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => PythonAsync($"import sys; print({i}); print('{i}0', file=sys.stderr); sys.exit({i})")));

        Assert.Equal(
            Enumerable.Range(0, 8).Select(i => (200, (string?)$"{i}\n", (string?)$"{i}0\n", (int?)i)),
            answers.Select(answer => (answer.Status, (string?)answer.Answer["stdout"], (string?)answer.Answer["stderr"], (int?)answer.Answer["exit_code"])));
        Assert.Equal(8, answers.Select(answer => (string?)answer.Answer["exec_id"]).Distinct().Count());
    }

    [Fact]
    public async Task A_stream_has_the_events_in_order_and_the_whole_result_last()
    {
        using HttpResponseMessage response = await StreamAsync("import sys, time; print('one', flush=True); time.sleep(0.5); print('two'); sys.exit(3)");
        string[] lines = (await response.Content.ReadAsStringAsync(Cancel)).Split('\n', StringSplitOptions.RemoveEmptyEntries);

        string[] events = [.. lines.Where(line => line.StartsWith("event: ", StringComparison.Ordinal)).Select(line => line["event: ".Length..])];
        Assert.Equal(("started", "end"), (events[0], events[^1]));
        Assert.All(events[1..^1], name => Assert.Equal("stdout", name));
        JsonNode end = JsonNode.Parse(lines[^1]["data: ".Length..])!;
        Assert.Equal((200, 3, "one\ntwo\n"), ((int?)end["status"], (int?)end["exit_code"], (string?)end["stdout"]));
    }

    [Theory]
    [InlineData("/run")]
    [InlineData("/run/stream")]
    public async Task A_client_that_disconnects_ends_its_run(string path)
    {
        using var gone = new CancellationTokenSource();
        using HttpRequestMessage request = new(HttpMethod.Post, new Uri(path, UriKind.Relative)) { Content = JsonContent.Create(Body("import time; time.sleep(1000)", new JsonObject { ["wall_clock_secs"] = 900 })) };
        Task<HttpResponseMessage> answer = Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, gone.Token);
        await UntilAsync(async () => await HostState.CountSandboxesAsync() == 1, "The sandbox did not come up.");
        if (path == "/run/stream")
        {
            (await answer).Dispose();
        }

        await gone.CancelAsync();

        await UntilAsync(async () => await HostState.CountSandboxesAsync() == 0, "The sandbox lives on without its client.");
    }

    [Fact]
    public async Task A_stopping_host_lets_short_runs_finish_then_ends_the_rest_and_leaves_nothing()
    {
        string[] instances = [.. Directory.GetDirectories("/run/boxer")];
        using HttpResponseMessage stream = await StreamAsync("import time; print('here', flush=True); time.sleep(1000)");
        using var reader = new StreamReader(await stream.Content.ReadAsStreamAsync(Cancel));
        while (await reader.ReadLineAsync(Cancel) is { } line && !line.Contains("here", StringComparison.Ordinal))
        {
        }

        Assert.Equal(0, await _host!.StopAsync());

        Assert.Contains("\"status\":503", await reader.ReadToEndAsync(Cancel), StringComparison.Ordinal);
        Assert.Equal(0, await HostState.CountSandboxesAsync());
        Assert.Equal(instances.Length - 1, Directory.GetDirectories("/run/boxer").Length);
    }

    private static string Sorted(JsonNode answer, string without)
    {
        JsonArray outputs = [.. answer["outputs"]!.AsArray().Select(output => output!.DeepClone()).OrderBy(output => (string?)output["path"], StringComparer.Ordinal)];
        outputs.Single(output => ((string)output!["path"]!).EndsWith(without, StringComparison.Ordinal))!.AsObject().Remove("modified_at");
        return outputs.ToJsonString(new JsonSerializerOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
    }

    private static async Task UntilAsync(Func<Task<bool>> condition, string message)
    {
        for (int attempt = 0; !await condition(); attempt++)
        {
            Assert.True(attempt < 600, message);
            await Task.Delay(TimeSpan.FromMilliseconds(50), Cancel);
        }
    }

    private static JsonObject Body(string program, JsonObject? limits = null) =>
        new() { ["image"] = PythonImage.Name, ["cmd"] = new JsonArray("python3", "-c", program), ["limits"] = limits };

    private Task<(int Status, JsonNode Answer)> PythonAsync(string program, JsonObject? limits = null) => RunAsync(Body(program, limits));

    private async Task<(int Status, JsonNode Answer)> RunAsync(JsonObject body)
    {
        body.TryAdd("image", PythonImage.Name);
        using HttpResponseMessage response = await Client.PostAsJsonAsync("/run", body, Cancel);
        return ((int)response.StatusCode, (await response.Content.ReadFromJsonAsync<JsonNode>(Cancel))!);
    }

    private async Task<HttpResponseMessage> StreamAsync(string program)
    {
        using HttpRequestMessage request = new(HttpMethod.Post, new Uri("/run/stream", UriKind.Relative)) { Content = JsonContent.Create(Body(program, new JsonObject { ["wall_clock_secs"] = 900 })) };
        return await Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Cancel);
    }

    private async Task UploadAsync(string path, string text)
    {
        using MultipartFormDataContent form = new()
        {
            { new ByteArrayContent(Encoding.UTF8.GetBytes(text)), "file", "name" },
            { new StringContent(path), "path" },
        };
        using HttpResponseMessage response = await Client.PostAsync(new Uri("/files", UriKind.Relative), form, Cancel);
        response.EnsureSuccessStatusCode();
    }
}
