using System.Text;
using System.Text.Json.Nodes;
using Boxer.Tests.Support;

namespace Boxer.Tests.HttpHost.Sessions;

/// <summary>Tests of commands in sessions over HTTP.</summary>
public abstract class ExecTests(ContractHost contract) : ContractTests(contract)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Exec_passes_every_field_on_and_returns_the_result()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await OpenAsync(host);
        session.Script = (_, _) => ScriptedRunner.Events(Result(Termination.Exited(3), "42\n", leftBehind: 2));

        Answer answer = await host.SendJsonAsync("POST", path + "/exec", """
            {"cmd": ["python3", "-c", "print(42)"], "env": ["A=1"], "cwd": "src", "limits": {"wall_clock_secs": 5, "cpu_time_secs": 2, "nofile": 64, "pids_limit": 8},
             "stdin": "in", "merge_stderr": true, "stop_grace_ms": 100, "user": "1000"}
            """);

        SandboxCommand command = Assert.Single(session.Commands);
        Assert.Equal(["python3", "-c", "print(42)"], command.Command);
        Assert.Equal(("1", "src", "in", true, "1000"), (command.Environment["A"], command.WorkingDirectory, Encoding.UTF8.GetString(command.StandardInput.Span), command.MergeStandardError, command.User));
        Assert.Equal(
            (TimeSpan.FromSeconds(5), TimeSpan.FromSeconds(2), 64, 8, TimeSpan.FromMilliseconds(100)),
            (command.Limits.WallClock, command.Limits.CpuTime, command.Limits.OpenFiles, command.Limits.Pids, command.StopGrace));
        Assert.Equal((200, 3, "42\n", 2), (answer.Status, (int)answer.Json["exit_code"]!, (string)answer.Json["stdout"]!, (int)answer.Json["left_behind"]!));
    }

    [Fact]
    public async Task Exec_without_input_has_empty_input_so_that_nothing_waits_for_it()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await OpenAsync(host);

        Answer answer = await host.SendJsonAsync("POST", path + "/exec", """{"cmd": ["cat"]}""");

        Assert.Equal((200, 0), (answer.Status, (int)answer.Json["left_behind"]!));
        Assert.True(session.Commands.Single() is { StandardInput.IsEmpty: true, StandardInputStream: null });
    }

    [Theory]
    [InlineData("{}", "cmd: is missing; list the program and its arguments.")]
    [InlineData("""{"cmd": []}""", "cmd: is empty; list the program and its arguments.")]
    [InlineData("""{"cmd": ["a"], "stdin": "a", "stdin_base64": "YQ=="}""", "stdin_base64: cannot be combined with stdin; leave one of them.")]
    [InlineData("""{"cmd": ["a"], "image": "i", "network": "none", "outputs": "keep"}""", "outputs: is not for commands in a session; read files with GET /sessions/{id}/files. image: belongs to POST /sessions. network: belongs to POST /sessions.")]
    [InlineData("""{"cmd": ["a"], "files": ["a"], "persist": true, "workspace_out": true}""", "files: is not for commands in a session; write files with PUT /sessions/{id}/files. workspace_out: is not for commands in a session; read the directory with GET /sessions/{id}/files/tar. persist: is not for commands in a session, which use no uploads.")]
    [InlineData("""{"cmd": ["a"], "terminal": {"cols": 80, "rows": 24}}""", "terminal: is not for commands that end with the request; start the command with POST /sessions/{id}/processes.")]
    [InlineData("""{"cmd": ["a"], "stdinn": ""}""", "stdinn: is not a field of the request; did you mean stdin?")]
    [InlineData("""{"cmd": ["a"], "limits": {"wall_clock_secs": -1}, "stop_grace_ms": 60001}""", "limits.wall_clock_secs: must be a number from 0.001 to 86400, or 0 for the default, not -1. stop_grace_ms: must be a whole number from 0 to 60000, not 60001.")]
    public async Task Exec_names_all_faults(string body, string error)
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await OpenAsync(host);

        foreach (string kind in new[] { "/exec", "/exec/stream" })
        {
            Answer answer = await host.SendJsonAsync("POST", path + kind, body);
            Assert.Equal((400, error), (answer.Status, answer.Error));
        }

        Assert.Empty(session.Commands);
    }

    [Theory]
    [InlineData(TerminationKind.WallClockLimit, 408, "wall_clock_limit")]
    [InlineData(TerminationKind.CpuTimeLimit, 200, "cpu_time_limit")]
    [InlineData(TerminationKind.OutputLimit, 507, "output_limit")]
    [InlineData(TerminationKind.NotStarted, 400, "not_started")]
    [InlineData(TerminationKind.MemoryLimit, 200, "memory_limit")]
    [InlineData(TerminationKind.SandboxDied, 500, "sandbox_died")]
    public async Task Exec_has_the_statuses_of_run(TerminationKind kind, int status, string name)
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await OpenAsync(host);
        session.Script = (_, _) => ScriptedRunner.Events(Result(new Termination(kind) { Message = "words" }, "out", leftBehind: 1));

        Answer answer = await host.SendJsonAsync("POST", path + "/exec", """{"cmd": ["a"]}""");
        Answer stream = await host.SendJsonAsync("POST", path + "/exec/stream", """{"cmd": ["a"]}""");

        Assert.Equal((status, name, "out", 1), (answer.Status, (string)answer.Json["termination"]!, (string)answer.Json["stdout"]!, (int)answer.Json["left_behind"]!));
        Assert.Contains($"event: end\ndata: {{\"status\":{status},", stream.Text, StringComparison.Ordinal);
        Assert.Empty(host.Document.FindEventFaults(stream.Text, "/sessions/{id}/exec/stream"));
        Assert.Equal("idle", (string)(await host.GetAsync(path)).Json["state"]!);
    }

    [Fact]
    public async Task Too_many_commands_are_429()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await OpenAsync(host);
        session.Script = (_, _) => throw new SandboxCapacityException("8 commands run in this session.");

        Answer answer = await host.SendJsonAsync("POST", path + "/exec", """{"cmd": ["a"]}""");

        Assert.Equal((429, "1"), (answer.Status, answer.Response.Headers.RetryAfter!.ToString()));
    }

    [Theory]
    [InlineData("/exec")]
    [InlineData("/exec/stream")]
    public async Task A_session_that_dies_during_a_command_says_so_with_the_output(string kind)
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await OpenAsync(host);
        session.Script = (_, _) => Dies(session);

        Answer answer = await host.SendJsonAsync("POST", path + kind, """{"cmd": ["a"]}""");

        JsonNode end = kind == "/exec" ? answer.Json : JsonNode.Parse(answer.Text.Split("event: end\ndata: ")[1])!;
        Assert.Equal(
            (kind == "/exec" ? 410 : 200, "sandbox_died", "so far", "The session ended: its sandbox died."),
            (answer.Status, (string)end["ended"]!, (string)end["stdout"]!, (string)end["error"]!));
    }

    [Theory]
    [InlineData("/exec")]
    [InlineData("/exec/stream")]
    [Slow]
    public async Task A_client_that_disconnects_ends_its_command_and_not_the_session(string kind)
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await OpenAsync(host);
        TaskCompletionSource started = new(), ended = new();
        session.Script = (_, token) => RunTests.WaitForEnd(started, ended, token);
        using (RawClient client = await RawClient.ConnectAsync(host.Address))
        {
            await client.SendAsync($"POST {path}{kind} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n{{\"cmd\": [\"a\"]}}");
            await started.Task.WaitAsync(TimeSpan.FromSeconds(30), Cancel);
        }

        await ended.Task.WaitAsync(TimeSpan.FromSeconds(30), Cancel);
        session.Script = (_, _) => ScriptedRunner.Events(ScriptedRunner.Result());
        Assert.Equal(200, (await host.SendJsonAsync("POST", path + "/exec", """{"cmd": ["a"]}""")).Status);
        Assert.Null(session.End);
    }

    [Fact]
    public async Task Secrets_of_a_command_appear_in_no_other_response()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await OpenAsync(host);
        TaskCompletionSource started = new(), ended = new();
        session.Script = (_, token) => RunTests.WaitForEnd(started, ended, token);
        Task<Answer> exec = host.SendJsonAsync("POST", path + "/exec", """{"cmd": ["a"], "env": {"TOKEN": "s3cret"}, "stdin": "s3cret"}""");
        await started.Task.WaitAsync(TimeSpan.FromSeconds(30), Cancel);
        await host.SendJsonAsync("POST", path + "/processes", """{"cmd": ["server"], "env": {"TOKEN": "s3cret"}}""");

        foreach (string get in new[] { "/sessions", path, path + "/processes", path + "/processes/1" })
        {
            Answer answer = await host.GetAsync(get);
            Assert.Equal(200, answer.Status);
            Assert.DoesNotContain("s3cret", answer.Text, StringComparison.Ordinal);
            Assert.DoesNotContain("TOKEN", answer.Text, StringComparison.Ordinal);
        }

        session.EndBy(SandboxSessionEnd.Closed);
        await exec;
    }

    [Fact]
    public async Task Output_that_is_kept_for_results_is_bounded_over_all_sessions()
    {
        await using HostFixture host = await StartAsync(new JsonObject { ["buffered_answers_bytes"] = 1 << 20 });
        (string path, ScriptedSession session) = await OpenAsync(host);
        TaskCompletionSource ended = new();
        session.Script = (_, token) => PrintsMuch(ended, token);

        await Assert.ThrowsAnyAsync<HttpRequestException>(() => host.SendJsonAsync("POST", path + "/exec", """{"cmd": ["a"]}"""));

        await ended.Task.WaitAsync(TimeSpan.FromSeconds(30), Cancel);
        session.Script = (_, _) => ScriptedRunner.Events(ScriptedRunner.Result());
        Assert.Equal(200, (await host.SendJsonAsync("POST", path + "/exec", """{"cmd": ["a"]}""")).Status);
    }

    [Fact]
    public async Task A_body_that_is_too_large_is_413()
    {
        await using HostFixture host = await StartAsync(new JsonObject { ["run_body_limit_bytes"] = 2_000 });
        (string path, _) = await OpenAsync(host);

        foreach (string call in new[] { "/sessions", path + "/exec", path + "/exec/stream", path + "/processes", path + "/files/move" })
        {
            Assert.Equal(413, (await host.SendJsonAsync("POST", call, new string(' ', 3_000))).Status);
        }
    }

    internal static SandboxResult Result(Termination termination, string stdout, int leftBehind)
    {
        SandboxResult result = ScriptedRunner.Result(termination, stdout);
        return new SandboxResult(termination)
        {
            Id = result.Id,
            StandardOutputBytes = result.StandardOutputBytes,
            StandardErrorBytes = result.StandardErrorBytes,
            ImageDigest = result.ImageDigest,
            Usage = result.Usage,
            Timings = result.Timings,
            LeftBehind = leftBehind,
        };
    }

    private static async Task<(string Path, ScriptedSession Session)> OpenAsync(HostFixture host)
    {
        string id = await SessionTests.NewIdAsync(host);
        return ($"/sessions/{id}", host.Sessions[id]);
    }

    private static async IAsyncEnumerable<SandboxEvent> Dies(ScriptedSession session)
    {
        yield return new SandboxStarted("boxer-1");
        yield return new SandboxDataReceived(SandboxStream.StandardOutput, "so far");
        await Task.Yield();
        session.EndBy(SandboxSessionEnd.SandboxDied);
        throw new SandboxSessionEndedException(session.Id, SandboxSessionEnd.SandboxDied);
    }

    private static async IAsyncEnumerable<SandboxEvent> PrintsMuch(
        TaskCompletionSource ended, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        yield return new SandboxStarted("boxer-1");
        try
        {
            for (int i = 0; i < 100; i++)
            {
                yield return new SandboxDataReceived(SandboxStream.StandardOutput, new byte[100_000]);
            }

            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, cancellationToken);
        }
        finally
        {
            ended.TrySetResult();
        }
    }
}

public sealed class HttpHostExecTests() : ExecTests(ContractHost.HttpHost);

public sealed class MinimalApiExecTests() : ExecTests(ContractHost.MinimalApi);
