using System.Text.Json.Nodes;

namespace Boxer.Tests.HttpHost.Sessions;

/// <summary>Tests of processes in sessions over HTTP, apart from their events.</summary>
public abstract class ProcessTests(ContractHost contract) : ContractTests(contract)
{
    [Fact]
    public async Task Start_passes_every_field_on_and_returns_the_process()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await OpenAsync(host);

        Answer answer = await host.SendJsonAsync("POST", path + "/processes", """
            {"cmd": ["bash", "-i"], "cwd": "src", "env": {"A": "1"}, "user": "1000", "limits": {"nofile": 64}, "terminal": {"cols": 120, "rows": 40}}
            """);

        SandboxCommand command = Assert.Single(session.Commands);
        Assert.Equal(["bash", "-i"], command.Command);
        Assert.Equal(
            ("src", "1", "1000", 64, new SandboxTerminal(120, 40), false),
            (command.WorkingDirectory, command.Environment["A"], command.User, command.Limits.OpenFiles, command.Terminal, command.MergeStandardError));
        Assert.Equal((201, 1, true), (answer.Status, (int)answer.Json["pid"]!, (bool)answer.Json["terminal"]!));
        Assert.Equal($"{path}/processes/1", answer.Response.Headers.Location!.OriginalString);
        Assert.True(answer.Json.AsObject().TryGetPropertyValue("ended", out JsonNode? ended) && ended is null);
        Assert.Equal(answer.Text, (await host.GetAsync($"{path}/processes/1")).Text);
    }

    [Fact]
    public async Task Start_without_terminal_has_pipes()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await OpenAsync(host);

        Answer answer = await host.SendJsonAsync("POST", path + "/processes", """{"cmd": ["a"], "terminal": null, "merge_stderr": true}""");

        Assert.False((bool)answer.Json["terminal"]!);
        Assert.True(session.Commands.Single() is { Terminal: null, MergeStandardError: true });
    }

    [Theory]
    [InlineData("{}", "cmd: is missing; list the program and its arguments.")]
    [InlineData("""{"cmd": ["a"], "terminal": {"cols": 0, "row": 1}}""", "terminal.row: is not a field of the request; did you mean rows? terminal.cols: must be a whole number from 1 to 65535, not 0. terminal.rows: is missing; give the number of rows.")]
    [InlineData("""{"cmd": ["a"], "terminal": true}""", "terminal: must be an object with cols and rows, not true.")]
    [InlineData("""{"cmd": ["a"], "stdin": "x", "stop_grace_ms": 1, "image": "i"}""", "stdin: is not for processes; send it with POST /sessions/{id}/processes/{pid}/stdin. stop_grace_ms: is not for processes; send a signal with POST /sessions/{id}/processes/{pid}/signal. image: belongs to POST /sessions.")]
    public async Task Start_names_all_faults(string body, string error)
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await OpenAsync(host);

        Answer answer = await host.SendJsonAsync("POST", path + "/processes", body);

        Assert.Equal((400, error), (answer.Status, answer.Error));
        Assert.Empty(session.Commands);
    }

    [Fact]
    public async Task Start_of_a_program_that_cannot_be_started_is_400()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await OpenAsync(host);
        session.EndOfNext = new SandboxProcessEnd(Termination.NotStarted(2, "the program 'nope' was not found"));

        Answer answer = await host.SendJsonAsync("POST", path + "/processes", """{"cmd": ["nope"]}""");

        Assert.Equal((400, "cmd: the program 'nope' was not found.", 127), (answer.Status, answer.Error, (int)answer.Json["exit_code"]!));
    }

    [Fact]
    public async Task List_has_living_and_ended_processes_with_their_commands_only()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await OpenAsync(host);
        await StartProcessAsync(host, path);
        await StartProcessAsync(host, path);
        session.Started[0].Finish(new SandboxProcessEnd(Termination.Signaled(15)) { LeftBehind = 3, Usage = new SandboxUsage { CommandCpu = TimeSpan.FromMilliseconds(5) } });

        Answer answer = await host.GetAsync(path + "/processes");

        Assert.Equal(["pid", "cmd", "terminal", "started_at", "ended"], answer.Json[0]!.AsObject().Select(member => member.Key));
        Assert.Equal("""{"termination":"signaled","exit_code":143,"signal":15,"left_behind":3,"usage":{"cpu_ms":5,"command_cpu_ms":5}}""", answer.Json[0]!["ended"]!.ToJsonString());
        Assert.Null(answer.Json[1]!["ended"]);
    }

    [Theory]
    [InlineData("GET", "")]
    [InlineData("DELETE", "")]
    [InlineData("GET", "/events")]
    [InlineData("POST", "/stdin")]
    [InlineData("POST", "/signal")]
    [InlineData("POST", "/resize")]
    public async Task An_unknown_process_is_404(string method, string request)
    {
        await using HostFixture host = await StartAsync();
        (string path, _) = await OpenAsync(host);
        await StartProcessAsync(host, path);

        foreach (string pid in new[] { "2", "0", "-1", "x", "1x", "99999999999999999999" })
        {
            Answer answer = await host.SendAsync(method, $"{path}/processes/{pid}{request}", method == "POST" ? new StringContent("{}") : null);
            Assert.Equal((404, "the session has no such process; it never existed, or it ended some time ago. GET /sessions/{id}/processes lists them."), (answer.Status, answer.Error));
        }
    }

    [Fact]
    public async Task Delete_kills_a_process_and_it_stays_listed()
    {
        await using HostFixture host = await StartAsync();
        (string path, _) = await OpenAsync(host);
        await StartProcessAsync(host, path);

        Answer killed = await host.SendAsync("DELETE", path + "/processes/1");

        Assert.Equal((200, 9), (killed.Status, (int)killed.Json["ended"]!["signal"]!));
        Assert.Equal(killed.Text, (await host.GetAsync(path + "/processes/1")).Text);
    }

    [Theory]
    [InlineData("15", 15)]
    [InlineData("\"15\"", 15)]
    [InlineData("\"SIGTERM\"", 15)]
    [InlineData("\"term\"", 15)]
    [InlineData("\"SIGKILL\"", 9)]
    [InlineData("\"SIGRTMIN+1\"", 35)]
    [InlineData("64", 64)]
    public async Task Signal_takes_names_and_numbers(string signal, int number)
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await OpenAsync(host);
        await StartProcessAsync(host, path);

        Answer answer = await host.SendJsonAsync("POST", path + "/processes/1/signal", $$"""{"signal": {{signal}}}""");

        Assert.Equal((200, """{"pid":1}"""), (answer.Status, answer.Text));
        Assert.Equal([number], session.Started[0].Signals);
    }

    [Theory]
    [InlineData("{}", "signal: is missing; give a name or a number such as SIGTERM or 15.")]
    [InlineData("""{"signal": 0}""", "signal: must be a signal such as SIGTERM, TERM or 15, not 0.")]
    [InlineData("""{"signal": 65}""", "signal: must be a signal such as SIGTERM, TERM or 15, not 65.")]
    [InlineData("""{"signal": -9}""", "signal: must be a signal such as SIGTERM, TERM or 15, not -9.")]
    [InlineData("""{"signal": 1.5}""", "signal: must be a signal such as SIGTERM, TERM or 15, not 1.5.")]
    [InlineData("""{"signal": "SIGNOPE"}""", "signal: must be a signal such as SIGTERM, TERM or 15, not \"SIGNOPE\".")]
    [InlineData("""{"signal": [15], "whole": true}""", "whole: is not a field of the request; remove it or use one of signal. signal: must be a signal such as SIGTERM, TERM or 15, not a list.")]
    public async Task Signal_names_all_faults(string body, string error)
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await OpenAsync(host);
        await StartProcessAsync(host, path);

        Answer answer = await host.SendJsonAsync("POST", path + "/processes/1/signal", body);

        Assert.Equal((400, error), (answer.Status, answer.Error));
        Assert.Empty(session.Started[0].Signals);
    }

    [Fact]
    public async Task Resize_changes_the_size_of_a_terminal_only()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await OpenAsync(host);
        await StartProcessAsync(host, path);
        await host.SendJsonAsync("POST", path + "/processes", """{"cmd": ["a"], "terminal": {"cols": 80, "rows": 24}}""");

        Answer none = await host.SendJsonAsync("POST", path + "/processes/1/resize", """{"cols": 1, "rows": 1}""");
        Answer faulty = await host.SendJsonAsync("POST", path + "/processes/2/resize", """{"cols": 65536}""");
        Answer answer = await host.SendJsonAsync("POST", path + "/processes/2/resize", """{"cols": 132, "rows": 43}""");

        Assert.Equal((400, "the process has no terminal; start it with terminal."), (none.Status, none.Error));
        Assert.Equal("cols: must be a whole number from 1 to 65535, not 65536. rows: is missing; give the number of rows.", faulty.Error);
        Assert.Equal((200, new SandboxTerminal(132, 43)), (answer.Status, session.Started[1].Size));
    }

    [Theory]
    [InlineData("stdin", "x")]
    [InlineData("signal", """{"signal": 15}""")]
    [InlineData("resize", """{"cols": 1, "rows": 1}""")]
    public async Task Requests_to_a_process_that_ended_are_404(string request, string body)
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await OpenAsync(host);
        await StartProcessAsync(host, path);
        session.Started[0].Finish(new SandboxProcessEnd(Termination.Exited(0)));

        Answer answer = await host.SendJsonAsync("POST", $"{path}/processes/1/{request}", body);

        Assert.Equal((404, "the process has ended."), (answer.Status, answer.Error));
    }

    internal static async Task<(string Path, ScriptedSession Session)> OpenAsync(HostFixture host)
    {
        string id = await SessionTests.NewIdAsync(host);
        return ($"/sessions/{id}", host.Sessions[id]);
    }

    internal static async Task<ScriptedProcess> StartProcessAsync(HostFixture host, string path)
    {
        Answer answer = await host.SendJsonAsync("POST", path + "/processes", """{"cmd": ["server"]}""");
        Assert.Equal(201, answer.Status);
        return host.Sessions[path.Split('/')[^1]].Started[^1];
    }
}

public sealed class HttpHostProcessTests() : ProcessTests(ContractHost.HttpHost);

public sealed class MinimalApiProcessTests() : ProcessTests(ContractHost.MinimalApi);
