using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.HttpHost;

public abstract class RunTests(ContractHost contract) : ContractTests(contract)
{
    private const string Simple = """{"image": "python:3.12-slim", "cmd": ["python3", "-c", "print(42)"]}""";

    private static Termination End(TerminationKind kind, string message, int? code = null, int? signal = null, int? errno = null) =>
        new(kind) { ExitCode = code, Signal = signal, Errno = errno, Message = message };

    [Fact]
    public async Task Run_returns_every_field_of_the_contract()
    {
        await using HostFixture host = await StartAsync();
        host.Runner.Returns(ScriptedRunner.Result(End(TerminationKind.Exited, "exited with 7", code: 7), "42\n", "warn\n", "boxer-1"));

        Answer answer = await host.RunAsync(Simple);

        Assert.Equal(200, answer.Status);
        Assert.Equal("application/json", answer.Response.Content.Headers.ContentType!.MediaType);
        Assert.Equal("boxer-1", (string)answer.Json["exec_id"]!);
        Assert.Equal(7, (int)answer.Json["exit_code"]!);
        Assert.Equal("42\n", (string)answer.Json["stdout"]!);
        Assert.Equal("warn\n", (string)answer.Json["stderr"]!);
        Assert.Equal(12, (long)answer.Json["wall_ms"]!);
        Assert.Equal("exited", (string)answer.Json["termination"]!);
        Assert.Equal(12.5, (double)answer.Json["timings_ms"]!["run"]!);
        Assert.Equal("sha256:0123", (string)answer.Json["image_digest"]!);
        Assert.Equal("""{"cpu_ms":3,"command_cpu_ms":2,"sandbox_cpu_ms":3,"peak_memory_bytes":1000,"max_rss_bytes":900}""", answer.Json["usage"]!.ToJsonString());
        Assert.Empty(answer.Json["outputs"]!.AsArray());
        JsonObject body = answer.Json.AsObject();
        Assert.All(["error", "signal", "stdout_base64", "stderr_base64", "unenforced_limits", "status"], name => Assert.False(body.ContainsKey(name)));
    }

    [Theory]
    [InlineData(TerminationKind.Exited, 200)]
    [InlineData(TerminationKind.WallClockLimit, 408)]
    public async Task An_incomplete_network_report_is_marked_as_such(TerminationKind end, int status)
    {
        await using HostFixture host = await StartAsync();
        host.Runner.Returns(ScriptedRunner.Result(End(end, "ended", code: 0), networkIncomplete: "words"));

        Answer answer = await host.RunAsync(Simple);

        Assert.Equal((status, "words"), (answer.Status, (string?)answer.Json["network_incomplete"]));
    }

    [Fact]
    public async Task Every_field_of_the_request_reaches_the_runner()
    {
        await using HostFixture host = await StartAsync();
        await host.UploadAsync("job/main.py", "print(1)");
        string content = "";
        host.Runner.Script = (request, _) =>
        {
            using StreamReader reader = new(request.Files.Single().OpenReadAsync(CancellationToken.None).AsTask().GetAwaiter().GetResult());
            content = reader.ReadToEnd();
            return ScriptedRunner.Events(ScriptedRunner.Result());
        };

        Answer answer = await host.RunAsync("""
            {
              "image": "i", "cmd": ["a", "b c", ""], "env": ["K=V=W", "E=", "K=last"], "cwd": "/w", "files": ["job/main.py"], "stdin": "in",
              "user": "0:0", "persist": true, "terminal": {"cols": 120, "rows": 40}, "network": "sandbox",
              "limits": {"cpu_cores": 0.5, "memory_mb": 512.0, "pids_limit": 10, "wall_clock_secs": 1.5, "cpu_time_secs": 0.25, "nofile": 64, "disk_mb": 9}
            }
            """);

        Assert.Equal(200, answer.Status);
        SandboxRequest request = Assert.Single(host.Runner.Requests);
        Assert.Equal("i", request.Image);
        Assert.Equal(["a", "b c", ""], request.Command);
        Assert.Equal([new("K", "last"), new("E", "")], request.Environment);
        Assert.Equal("/w", request.WorkingDirectory);
        Assert.Equal("0:0", request.User);
        Assert.Equal(new SandboxTerminal(120, 40), request.Terminal);
        Assert.Equal("sandbox", request.Network);
        Assert.Equal("in", Encoding.UTF8.GetString(request.StandardInput.Span));
        Assert.Equal("job/main.py", Assert.Single(request.Files).Path);
        Assert.Equal("print(1)", content);
        Assert.NotNull(request.OutputFiles.Directory);
        Assert.Equal(
            new ResourceLimits
            {
                CpuCores = 0.5,
                MemoryBytes = 512 * ByteSize.MiB,
                Pids = 10,
                WallClock = TimeSpan.FromSeconds(1.5),
                CpuTime = TimeSpan.FromSeconds(0.25),
                OpenFiles = 64,
                DiskBytes = 9 * ByteSize.MiB,
            },
            request.Limits);
    }

    [Fact]
    public async Task Zero_null_and_absent_mean_the_defaults()
    {
        await using HostFixture host = await StartAsync();

        Answer answer = await host.RunAsync("""
            {
              "image": "i", "cmd": ["a"], "env": null, "cwd": "", "files": null, "stdin": null, "user": "", "persist": null, "terminal": null, "network": "",
              "limits": {"cpu_cores": 0, "memory_mb": 0, "pids_limit": null, "wall_clock_secs": 0.0, "cpu_time_secs": 0, "nofile": 0}
            }
            """);

        Assert.Equal(200, answer.Status);
        SandboxRequest request = Assert.Single(host.Runner.Requests);
        Assert.Equal(new ResourceLimits(), request.Limits);
        Assert.Null(request.WorkingDirectory);
        Assert.Null(request.User);
        Assert.Equal("none", request.Network);
        Assert.Same(OutputFilePolicy.Discard, request.OutputFiles);
    }

    [Theory]
    [InlineData("application/x-www-form-urlencoded")]
    [InlineData("text/plain")]
    [InlineData(null)]
    public async Task The_content_type_of_a_run_does_not_matter(string? contentType)
    {
        await using HostFixture host = await StartAsync();
        ByteArrayContent content = new(Encoding.UTF8.GetBytes(Simple));
        if (contentType is not null)
        {
            content.Headers.ContentType = new(contentType);
        }

        Assert.Equal(200, (await host.PostAsync("/run", content)).Status);
    }

    [Fact]
    public async Task A_rebound_name_cannot_read()
    {
        await using HostFixture host = await StartAsync();
        using HttpRequestMessage request = new(HttpMethod.Get, new Uri("/metrics", UriKind.Relative));
        request.Headers.Host = "evil.example:8080";
        using HttpResponseMessage response = await host.Client.SendAsync(request, TestContext.Current.CancellationToken);

        Assert.Equal(421, (int)response.StatusCode);
    }

    [Fact]
    public async Task A_signal_sets_exit_code_and_signal()
    {
        await using HostFixture host = await StartAsync();
        host.Runner.Returns(ScriptedRunner.Result(End(TerminationKind.Signaled, "killed by SIGSEGV", signal: 11)));

        Answer answer = await host.RunAsync(Simple);

        Assert.Equal(200, answer.Status);
        Assert.Equal(139, (int)answer.Json["exit_code"]!);
        Assert.Equal(11, (int)answer.Json["signal"]!);
        Assert.Equal("signaled", (string)answer.Json["termination"]!);
    }

    [Theory]
    [InlineData(TerminationKind.MemoryLimit, "memory_limit")]
    [InlineData(TerminationKind.CpuTimeLimit, "cpu_time_limit")]
    [InlineData(TerminationKind.PidsLimit, "pids_limit")]
    public async Task Memory_cpu_time_and_pids_limits_are_200_with_a_message(TerminationKind kind, string termination)
    {
        await using HostFixture host = await StartAsync();
        host.Runner.Returns(ScriptedRunner.Result(End(kind, "killed: a limit was reached"), "so far", "oops"));

        Answer answer = await host.RunAsync(Simple);

        Assert.Equal(200, answer.Status);
        Assert.Equal(137, (int)answer.Json["exit_code"]!);
        Assert.Equal(termination, (string)answer.Json["termination"]!);
        Assert.Equal("killed: a limit was reached", answer.Error);
        Assert.Equal("oops\nboxer: killed: a limit was reached\n", (string)answer.Json["stderr"]!);
        Assert.Equal("so far", (string)answer.Json["stdout"]!);
    }

    [Fact]
    public async Task Output_that_is_not_UTF8_is_returned_with_replacement_characters_and_in_base64()
    {
        await using HostFixture host = await StartAsync();
        host.Runner.Returns(ScriptedRunner.Result(stdoutBytes: [0x61, 0xff, 0x00, 0x0a]));

        Answer answer = await host.RunAsync(Simple);

        Assert.Equal("a\uFFFD\0\n", (string)answer.Json["stdout"]!);
        Assert.Equal([0x61, 0xff, 0x00, 0x0a], Convert.FromBase64String((string)answer.Json["stdout_base64"]!));
        Assert.False(answer.Json.AsObject().ContainsKey("stderr_base64"));
    }

    [Theory]
    [InlineData(TerminationKind.WallClockLimit, null, 408, "wall_clock_limit", "the words")]
    [InlineData(TerminationKind.OutputLimit, null, 507, "output_limit", "the words")]
    [InlineData(TerminationKind.SandboxDied, null, 500, "sandbox_died", "the words")]
    [InlineData(TerminationKind.NotStarted, 2, 400, "not_started", "the words")]
    [InlineData(TerminationKind.NotStarted, 13, 400, "not_started", "the words")]
    public async Task Other_ends_are_errors_with_the_output(TerminationKind kind, int? errno, int status, string termination, string error)
    {
        await using HostFixture host = await StartAsync();
        host.Runner.Returns(ScriptedRunner.Result(End(kind, "the words", errno: errno), "out", "err", "boxer-7"));

        Answer answer = await host.RunAsync(Simple);

        Assert.Equal(status, answer.Status);
        Assert.Equal(error, answer.Error);
        Assert.Equal("boxer-7", (string)answer.Json["exec_id"]!);
        Assert.Equal("out", (string)answer.Json["stdout"]!);
        Assert.Equal("err", (string)answer.Json["stderr"]!);
        Assert.Equal(termination, (string)answer.Json["termination"]!);
        Assert.Equal("""{"cpu_ms":3,"command_cpu_ms":2,"sandbox_cpu_ms":3,"peak_memory_bytes":1000,"max_rss_bytes":900}""", answer.Json["usage"]!.ToJsonString());
        Assert.Equal(12.5, (double)answer.Json["timings_ms"]!["run"]!);
        Assert.Equal("sha256:0123", (string)answer.Json["image_digest"]!);
        Assert.False(answer.Json.AsObject().ContainsKey("stdout_base64"));
    }

    [Theory]
    [InlineData(TerminationKind.Exited)]
    [InlineData(TerminationKind.OutputLimit)]
    public async Task Large_outputs_are_returned_exactly(TerminationKind kind)
    {
        await using HostFixture host = await StartAsync();

        // Pieces split characters and base64 groups; the last byte starts an incomplete character.
        byte[] printed = [.. Encoding.UTF8.GetBytes(string.Concat(Enumerable.Range(0, 60_000).Select(i => $"{i}\0\u00e4\u20ac\U0001F600\n"))), 0xE2];
        host.Runner.Returns(ScriptedRunner.Result(End(kind, "the words", code: kind == TerminationKind.Exited ? 0 : null), stdoutBytes: printed));

        Answer answer = await host.RunAsync(Simple);

        Assert.Equal(Encoding.UTF8.GetString(printed), (string)answer.Json["stdout"]!);
        Assert.Equal(printed, Convert.FromBase64String((string)answer.Json["stdout_base64"]!));
        Assert.Equal("", (string)answer.Json["stderr"]!);
    }

    [Theory]
    [InlineData("/run")]
    [InlineData("/run/stream")]
    public async Task A_failed_run_returns_its_output_so_far(string path)
    {
        await using HostFixture host = await StartAsync();
        host.Runner.Script = (_, _) => Broken();

        Answer answer = await host.PostAsync(path, new StringContent(Simple));

        string end = path == "/run" ? answer.Text : answer.Text[(answer.Text.LastIndexOf("data: ", StringComparison.Ordinal) + 6)..];
        JsonNode body = JsonNode.Parse(end)!;
        Assert.Equal(("boxer-1", "one two", "three"), ((string?)body["exec_id"], (string?)body["stdout"], (string?)body["stderr"]));
        Assert.Equal(500, path == "/run" ? answer.Status : (int)body["status"]!);

        static async IAsyncEnumerable<SandboxEvent> Broken()
        {
            byte[] kept = "one two"u8.ToArray();
            yield return new SandboxStarted("boxer-1");
            yield return new SandboxDataReceived(SandboxStream.StandardOutput, kept.AsMemory(0, 4));
            yield return new SandboxDataReceived(SandboxStream.StandardError, "three"u8.ToArray());
            yield return new SandboxDataReceived(SandboxStream.StandardOutput, kept.AsMemory(4));
            await Task.Yield();
            throw new SandboxRuntimeException("The runner was disposed while the command ran.");
        }
    }

    // The identifier of the request follows.
    private const string InLog = " The host's log has the reason under request ";

    public static TheoryData<string, int, string> Failures => new()
    {
        { "notfound", 404, "The image x/y:1 was not found." },
        { "pull", 502, "The image could not be pulled or unpacked." + InLog },
        { "capacity", 429, "256 runs wait already." },
        { "privilege", 400, "This host cannot run sandboxes as it is set up." + InLog },
        {
            "request",
            400,
            "limits.memory_mb: Must be at least limits.memory_mb 32. cmd[1]: Too long. inputs[0].path: Reserved. user: No such user. cwd: Bad. env[K]: Bad. network: Bad. image: Bad. output_limit_bytes: Bad."
        },
    };

    [Theory]
    [MemberData(nameof(Failures))]
    public async Task Exceptions_are_mapped_to_statuses(string what, int status, string error)
    {
        await using HostFixture host = await StartAsync();
        host.Runner.Throws(what switch
        {
            "notfound" => new ImageNotFoundException("The image x/y:1 was not found.") { PublicMessage = "The image x/y:1 was not found." },
            "pull" => new ImagePullException($"The registry said 500 ({host.Home}/images)."),
            "capacity" => new SandboxCapacityException("256 runs wait already.", TimeSpan.FromSeconds(2.1)),
            "privilege" => new SandboxPrivilegeException($"{host.Home} is not writable."),
            _ => new InvalidSandboxRequestException(
            [
                new("Limits.MemoryBytes", "Must be at least {0} 32.", ["Limits.MemoryBytes"]),
                new("Command[1]", "Too long."),
                new("Files[0].Path", "Reserved."),
                new("User", "No such user."),
                new("WorkingDirectory", "Bad."),
                new("Environment[K]", "Bad."),
                new("Network", "Bad."),
                new("Image", "Bad."),
                new("Limits.StandardOutputBytes", "Bad."),
            ]),
        });

        Answer answer = await host.RunAsync(Simple);

        Assert.Equal(status, answer.Status);
        Assert.StartsWith(error, answer.Error, StringComparison.Ordinal);
        Assert.Equal(error.EndsWith(InLog, StringComparison.Ordinal), answer.Error != error);
        Assert.Equal(status == 429 ? TimeSpan.FromSeconds(3) : null, answer.Response.Headers.RetryAfter?.Delta);
        Assert.Single(answer.Json.AsObject());
    }

    [Theory]
    [InlineData(true, "the sandbox failed; its log has the reason under request ")]
    [InlineData(false, "the host failed; its log has the reason under request ")]
    public async Task Internal_failures_reveal_nothing_about_this_machine(bool ofSandbox, string start)
    {
        await using HostFixture host = await StartAsync();
        host.Runner.Throws(ofSandbox
            ? new SandboxRuntimeException("runsc said: open /secret/path", new IOException("/secret/inner"))
            : new InvalidOperationException("/secret/path"));

        Answer answer = await host.RunAsync(Simple);

        Assert.Equal(500, answer.Status);
        Assert.StartsWith(start, answer.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", answer.Text, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", answer.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_disconnect_ends_the_run()
    {
        await using HostFixture host = await StartAsync();
        TaskCompletionSource started = new(), ended = new();
        host.Runner.Script = (_, token) => WaitForEnd(started, ended, token);
        using CancellationTokenSource client = new();

        Task<HttpResponseMessage> request = host.Client.PostAsync(new Uri("/run", UriKind.Relative), new StringContent(Simple), client.Token);
        await started.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        await client.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => request);
        await ended.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task A_stop_lets_runs_end_within_the_grace_period()
    {
        HostFixture host = await StartAsync(new JsonObject { ["stop_grace_secs"] = 60 });
        TaskCompletionSource started = new(), go = new();
        host.Runner.Script = (_, _) => WaitFor(started, go.Task);

        Task<Answer> run = host.RunAsync(Simple);
        await started.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Task stop = host.App.StopAsync(TestContext.Current.CancellationToken);
        await WaitUntilRefusedAsync(host);
        Assert.False(run.IsCompleted);
        go.SetResult();

        Assert.Equal(200, (await run).Status);
        await stop;
        await host.DisposeAsync();
    }

    [Fact]
    public async Task A_stop_ends_runs_after_the_grace_period()
    {
        HostFixture host = await StartAsync(new JsonObject { ["stop_grace_secs"] = 0.1 });
        TaskCompletionSource started = new(), ended = new();
        host.Runner.Script = (_, token) => WaitForEnd(started, ended, token);

        Task<Answer> run = host.RunAsync(Simple);
        await started.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        await host.App.StopAsync(TestContext.Current.CancellationToken);

        await ended.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Answer answer = await run;
        Assert.Equal(503, answer.Status);
        Assert.Equal("the host is stopping; the run was ended.", answer.Error);
        Assert.Equal("boxer-1", (string)answer.Json["exec_id"]!);
        await host.DisposeAsync();
    }

    [Theory]
    [InlineData(60, 20_000, 39)]
    [InlineData(10, 60_000, 0)]
    public async Task A_stop_asks_commands_early_enough_for_their_own_grace_period(int hostSeconds, int runMilliseconds, int secondsBefore)
    {
        FakeTimeProvider time = new();
        HostFixture host = await StartAsync(new JsonObject { ["stop_grace_secs"] = hostSeconds }, configureServices: services => services.AddSingleton<TimeProvider>(time));
        TaskCompletionSource started = new(), ended = new();
        host.Runner.Script = (_, token) => WaitForEnd(started, ended, token);

        Task<Answer> run = host.RunAsync($$"""{"image": "i", "cmd": ["a"], "stop_grace_ms": {{runMilliseconds}} }""");
        await started.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Task stop = host.App.StopAsync(TestContext.Current.CancellationToken);
        await WaitUntilRefusedAsync(host);
        if (secondsBefore > 0)
        {
            time.Advance(TimeSpan.FromSeconds(secondsBefore));
            Assert.False(ended.Task.IsCompleted);
        }

        time.Advance(TimeSpan.FromSeconds(2));

        await ended.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Assert.Equal(503, (await run).Status);
        await stop;
        await host.DisposeAsync();
    }

    internal static async IAsyncEnumerable<SandboxEvent> WaitForEnd(
        TaskCompletionSource started, TaskCompletionSource ended, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken token)
    {
        yield return new SandboxStarted("boxer-1");
        started.TrySetResult();
        try
        {
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, token);
        }
        finally
        {
            ended.TrySetResult();
        }
    }

    private static async IAsyncEnumerable<SandboxEvent> WaitFor(TaskCompletionSource started, Task go)
    {
        yield return new SandboxStarted("boxer-1");
        started.TrySetResult();
        await go;
        yield return new SandboxEnded(ScriptedRunner.Result(id: "boxer-1"));
    }

    private static async Task WaitUntilRefusedAsync(HostFixture host)
    {
        using HttpClient other = host.NewClient();
        while (true)
        {
            try
            {
                using HttpResponseMessage response = await other.GetAsync(new Uri("/healthz", UriKind.Relative));
                await Task.Delay(TimeSpan.FromMilliseconds(20), TimeProvider.System);
            }
            catch (HttpRequestException)
            {
                return;
            }
        }
    }
}

public sealed class HttpHostRunTests() : RunTests(ContractHost.HttpHost);

public sealed class MinimalApiRunTests() : RunTests(ContractHost.MinimalApi);
