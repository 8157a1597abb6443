using Boxer.Tests.Support;

namespace Boxer.Tests.Cli;

/// <summary>Tests of the commands that talk to a server, each in its own process, against prepared answers.</summary>
[Slow]
public sealed class CliSessionTests : IAsyncLifetime
{
    private const string Session = FakeSessionServer.Session;
    private const string Process = $"/sessions/{Session}/processes/7";
    private FakeSessionServer _server = null!;

    public async ValueTask InitializeAsync() => _server = await FakeSessionServer.StartAsync();

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    [Fact]
    public async Task Open_sends_its_options_and_prints_the_identifier()
    {
        _server.Answer("POST /sessions", 201, $$"""{"id":"{{Session}}","state":"running"}""");

        CliResult opened = await RunAsync(
            "open", "python:3.12-slim", "--network", "sandbox", "-e", "A=b=c", "--label", "who=me", "--user", "1000", "--idle-timeout", "60", "--lifetime", "1.5", "--memory-mb", "64", "--cpus", "0.5", "--key", "sesame");

        Assert.Equal(new CliResult(0, Session + "\n", ""), opened);
        Assert.Equal(
            """POST /sessions {"image":"python:3.12-slim","network":"sandbox","env":{"A":"b=c"},"labels":{"who":"me"},"user":"1000","idle_timeout_secs":60,"lifetime_secs":1.5,"limits":{"cpu_cores":0.5,"memory_mb":64}}""",
            Assert.Single(_server.Requests));
        Assert.Equal("Bearer sesame", Assert.Single(_server.Keys));
    }

    [Fact]
    public async Task Address_and_key_come_from_variables_and_errors_of_the_server_are_printed()
    {
        _server.Answer("POST /sessions", 429, """{"error":"too many sessions are open\u001b[2J"}""");
        Dictionary<string, string> variables = new(StringComparer.Ordinal) { ["BOXER_URL"] = _server.Address, ["BOXER_API_KEY"] = "from-variable" };

        CliResult opened = await CliProcess.RunAsync(["open", "alpine"], variables);

        Assert.Equal(new CliResult(125, "", "too many sessions are open\uFFFD[2J\n"), opened);
        Assert.Equal("Bearer from-variable", Assert.Single(_server.Keys));
    }

    [Theory]
    [InlineData("--server", "ftp://localhost", "--server: the address")]
    [InlineData("--server", "http://user:hunter2@localhost", "--server: the address")]
    [InlineData("--key", "open sesame", "--key: the key must be printable")]
    public async Task Bad_addresses_and_keys_are_rejected_and_not_shown(string option, string value, string error)
    {
        CliResult listed = await CliProcess.RunAsync(["ps", option, value]);

        Assert.Equal((125, ""), (listed.ExitCode, listed.Stdout));
        Assert.StartsWith(error, listed.Stderr, StringComparison.Ordinal);
        Assert.DoesNotContain("hunter2", listed.Stderr, StringComparison.Ordinal);
        Assert.DoesNotContain("sesame", listed.Stderr, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Ps_lists_sessions_and_processes_without_control_characters()
    {
        _server.Answer("GET /sessions", 200, """[{"id":"SESSION","state":"idle","image_digest":"sha256:0123456789abcdef","expires_at":null,"labels":{"who":"me\u001b[31m"}}]""".Replace("SESSION", Session, StringComparison.Ordinal));
        _server.Answer(
            $"GET /sessions/{Session}/processes", 200,
            """[{"pid":7,"cmd":["sh","-c","printf '[bold]\u0007'"],"ended":null},{"pid":8,"cmd":["true"],"ended":{"termination":"exited","exit_code":3}}]""");

        CliResult sessions = await RunAsync("ps");
        CliResult processes = await RunAsync("ps", Session);

        Assert.Matches($@"{Session} +idle +0123456789ab +who=me\uFFFD\[31m", sessions.Stdout);
        Assert.Matches(@"7 +running +sh -c printf '\[bold\]\uFFFD'", processes.Stdout);
        Assert.Matches(@"8 +exited \(3\) +true", processes.Stdout);
        Assert.Equal(new CliResult(0, Session + "\n", ""), await RunAsync("ps", "-q"));
        Assert.Equal(new CliResult(0, "7\n8\n", ""), await RunAsync("ps", "-q", Session));
    }

    [Fact]
    public async Task Close_closes_each_session_and_reports_those_that_it_cannot_close()
    {
        string other = Session.Replace('a', 'z'), faulty = Session.Replace('a', 'y');
        _server.Answer($"DELETE /sessions/{Session}", 200, "{}")
            .Answer($"DELETE /sessions/{other}", 410, """{"error":"the session has ended (lifetime)","ended":"lifetime"}""")
            .Answer($"DELETE /sessions/{faulty}", 500, """{"error":"the host failed"}""");

        Assert.Equal(
            new CliResult(
                125,
                Session + "\n",
                $"{other}: the session has ended (lifetime)\n\"../run\" is not the identifier of a session; \"boxer ps\" lists them.\n{faulty}: the host failed\n"),
            await RunAsync("close", other, "../run", faulty, Session));
        Assert.Equal(3, _server.Requests.Count);
    }

    [Fact]
    public async Task A_missing_session_gives_125_in_every_command()
    {
        foreach ((string request, string[] command) in new (string, string[])[]
        {
            ($"GET /sessions/{Session}/processes", ["ps", Session]), ($"PATCH /sessions/{Session}", ["extend", "--lifetime", "60", Session]),
            ($"POST /sessions/{Session}/processes", ["exec", Session, "true"]),
        })
        {
            _server.Answer(request, 404, """{"error":"there is no such session"}""");
            Assert.Equal(new CliResult(125, "", "there is no such session\n"), await RunAsync(command));
        }
    }

    [Theory]
    [InlineData("pause")]
    [InlineData("resume")]
    public async Task Pause_and_resume_take_several_sessions_and_report_missing_ones(string command)
    {
        string other = Session.Replace('a', 'z');
        _server.Answer($"POST /sessions/{Session}/{command}", 200, "{}").Answer($"POST /sessions/{other}/{command}", 404, """{"error":"there is no such session"}""");

        Assert.Equal(new CliResult(125, Session + "\n", $"{other}: there is no such session\n"), await RunAsync(command, other, Session));
    }

    [Fact]
    public async Task Extend_sends_the_given_times_only_and_prints_the_end()
    {
        _server.Answer($"PATCH /sessions/{Session}", 200, """{"id":"SESSION","expires_at":"2026-11-30T09:05:00Z"}""".Replace("SESSION", Session, StringComparison.Ordinal))
            .Answer($"PATCH /sessions/{Session}", 200, """{"id":"SESSION","expires_at":null}""".Replace("SESSION", Session, StringComparison.Ordinal));
        string end = new DateTimeOffset(2026, 11, 30, 9, 5, 0, TimeSpan.Zero).ToLocalTime().ToString("yyyy-MM-dd HH:mm:ss", System.Globalization.CultureInfo.InvariantCulture);

        Assert.Equal(new CliResult(0, $"{Session} {end}\n", ""), await RunAsync("extend", "--lifetime", "7200", Session));
        Assert.Equal(new CliResult(0, $"{Session}\n", ""), await RunAsync("extend", "--idle-timeout", "600.5", "--lifetime", "7200", Session));
        CliResult nothing = await RunAsync("extend", Session);

        Assert.Equal((125, "extend: give --idle-timeout, --lifetime or both.\n"), (nothing.ExitCode, nothing.Stderr));
        Assert.Equal([$"PATCH /sessions/{Session} {{\"lifetime_secs\":7200}}", $"PATCH /sessions/{Session} {{\"idle_timeout_secs\":600.5,\"lifetime_secs\":7200}}"], _server.Requests);
    }

    [Fact]
    public async Task Exec_copies_the_output_byte_for_byte_and_exits_with_the_exit_code()
    {
        AnswerProcess(Output("stdout", 0, "aü") + Output("stderr", 3, "e") + FakeSessionServer.Event("stdout", new() { ["offset"] = 4, ["text"] = "\uFFFD", ["content_base64"] = "/w==" }) + Ended(3));

        CliResult result = await RunAsync("exec", "--env", "A=b", "--user", "0", "-w", "/src", Session, "--", "make", "-k");

        // The byte 255 is no UTF-8.
        Assert.Equal(new CliResult(3, "aü\uFFFD", "e"), result);
        string[] requests = [.. _server.Requests];
        Assert.Equal($"POST /sessions/{Session}/processes " + """{"cmd":["make","-k"],"env":{"A":"b"},"user":"0","cwd":"/src"}""", requests[0]);
        Assert.DoesNotContain(requests, request => request.StartsWith("DELETE", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Exec_attaches_again_where_the_connection_broke()
    {
        AnswerProcess(Output("stdout", 0, "abc"), Output("stdout", 1, "bcdef") + "event: std", Output("stdout", 6, "g") + Ended(0));

        Assert.Equal(new CliResult(0, "abcdefg", ""), await RunAsync("exec", Session, "true"));

        string[] attached = [.. _server.Requests.Where(request => request.Contains("/events", StringComparison.Ordinal))];
        Assert.Equal([$"GET {Process}/events", $"GET {Process}/events after 3", $"GET {Process}/events after 6"], attached);
    }

    [Theory]
    [InlineData(false, $"POST {Process}/stdin?end=true")]
    [InlineData(true, $"POST {Process}/stdin a line", $"POST {Process}/stdin?end=true")]
    public async Task Exec_passes_standard_input_only_on_request(bool isInteractive, params string[] expected)
    {
        AnswerProcess();
        _server.Answer($"GET {Process}/events", 200, Ended(0), after: $"POST {Process}/stdin?end=true");

        CliResult result = await CliProcess.RunAsync(["exec", .. isInteractive ? (string[])["-i"] : [], "--server", _server.Address, Session, "cat"], stdin: "a line\n");

        Assert.Equal(new CliResult(0, "", ""), result);
        Assert.Equal(expected, _server.Requests.Where(request => request.Contains("/stdin", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Exec_that_is_interrupted_kills_its_command()
    {
        AnswerProcess();
        _server.Answer($"GET {Process}/events", 200, Ended(0), after: $"DELETE {Process}");
        using System.Diagnostics.Process cli = CliProcess.Start(["exec", "--server", _server.Address, Session, "sleep", "60"]);

        await Until.IsSoAsync(() => _server.Requests.Contains($"GET {Process}/events"), 60);
        await HostProgram.RunAsync("kill", "-INT", $"{cli.Id}");

        await cli.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.NotEqual(0, cli.ExitCode);
        Assert.Contains($"DELETE {Process}", _server.Requests);
    }

    [Fact]
    public async Task Exec_reports_the_end_of_the_session()
    {
        AnswerProcess(Output("stdout", 0, "a") + FakeSessionServer.Event("error", new() { ["status"] = 410, ["error"] = "the session has ended (memory_limit)", ["ended"] = "memory_limit" }));
        Assert.Equal(new CliResult(125, "a", "the session has ended (memory_limit)\n"), await RunAsync("exec", Session, "true"));
    }

    [Fact]
    public async Task Exec_reports_a_command_that_could_not_be_started()
    {
        AnswerProcess(FakeSessionServer.Event("ended", new() { ["termination"] = "not_started", ["exit_code"] = 127, ["error"] = "no such program" }));

        Assert.Equal(new CliResult(127, "", "no such program\n"), await RunAsync("exec", Session, "true"));
    }

    [Theory]
    [InlineData(127, "cmd: the program 'nope' was not found.")]
    [InlineData(126, "cmd: 'nope' may not be executed.")]
    [InlineData(125, "cwd: must be absolute.")]
    public async Task Exec_of_a_program_that_cannot_be_started_gives_the_exit_code_of_a_shell(int exitCode, string error)
    {
        string code = exitCode == 125 ? "" : $",\"exit_code\":{exitCode}";
        _server.Answer($"POST /sessions/{Session}/processes", 400, $$"""{"error":"{{error}}"{{code}}}""");

        Assert.Equal(new CliResult(exitCode, "", error + "\n"), await RunAsync("exec", Session, "nope"));
    }

    [Fact]
    public async Task Exec_without_a_command_gives_125() => Assert.Equal(125, (await RunAsync("exec", Session)).ExitCode);

    [Fact]
    public async Task Exec_sends_the_rest_of_its_input_when_the_process_reads_again_or_the_session_is_resumed()
    {
        _server.Answer($"POST {Process}/stdin", 409, """{"error":"the process took less than 32 KiB of its input in 60 s.","written":2}""")
            .Answer($"POST {Process}/stdin", 409, """{"error":"The session is paused. Resume it first, or add ?resume=true.","state":"paused"}""")
            .Answer($"POST {Process}/stdin", 409, """{"error":"The session is paused. Resume it first, or add ?resume=true.","state":"paused","written":1}""");
        AnswerProcess();
        _server.Answer($"GET {Process}/events", 200, Ended(0), after: $"POST {Process}/stdin?end=true");

        CliResult result = await CliProcess.RunAsync(["exec", "-i", "--server", _server.Address, Session, "cat"], stdin: "a line\n");

        Assert.Equal(new CliResult(0, "", ""), result);
        Assert.Equal(
            [$"POST {Process}/stdin a line", $"POST {Process}/stdin line", $"POST {Process}/stdin line", $"POST {Process}/stdin ine", $"POST {Process}/stdin?end=true"],
            _server.Requests.Where(request => request.Contains("/stdin", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task A_paused_session_is_reported_in_the_words_of_this_program()
    {
        _server.Answer($"POST /sessions/{Session}/processes", 409, """{"error":"The session is paused. Resume it first, or add ?resume=true.","state":"paused"}""");

        Assert.Equal(new CliResult(125, "", "The session is paused; \"boxer resume SESSION\" resumes it.\n"), await RunAsync("exec", Session, "true"));
    }

    [Fact]
    public async Task Exec_with_a_terminal_can_be_interrupted_until_the_process_runs()
    {
        Assert.SkipUnless(HostProgram.Exists("script"), "Needs script (util-linux).");
        _server.Answer($"POST /sessions/{Session}/processes", 201, """{"pid":7}""", after: "never");
        string cli = $"dotnet '{Path.Join(AppContext.BaseDirectory, "boxer.dll")}' exec -t --server {_server.Address} {Session} sh";
        System.Diagnostics.ProcessStartInfo start = new("script", ["-qec", cli, "/dev/null"]) { RedirectStandardInput = true, RedirectStandardOutput = true, UseShellExecute = false };
        using System.Diagnostics.Process script = System.Diagnostics.Process.Start(start)!;

        await Until.IsSoAsync(() => !_server.Requests.IsEmpty, 60);
        await script.StandardInput.WriteAsync("\u0003");
        await script.StandardInput.FlushAsync(TestContext.Current.CancellationToken);

        string output = await script.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await script.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(script.ExitCode != 0, output);

        // The server does not answer.
        Assert.DoesNotContain("status", output, StringComparison.Ordinal);
        Assert.Single(_server.Requests);
    }

    [Fact]
    public async Task Exec_with_a_terminal_needs_one_here()
    {
        CliResult result = await RunAsync("exec", "-t", Session, "sh");

        Assert.Equal(new CliResult(125, "", "-t: standard input is not a terminal.\n"), result);
        Assert.Empty(_server.Requests);
    }

    [Fact]
    public async Task Exec_with_a_terminal_sends_its_size_and_its_keys()
    {
        Assert.SkipUnless(HostProgram.Exists("script"), "Needs script (util-linux).");
        AnswerProcess(Output("output", 0, "prompt"), Output("output", 6, "\r\n") + Ended(0));
        string cli = $"dotnet '{Path.Join(AppContext.BaseDirectory, "boxer.dll")}' exec -t --server {_server.Address} {Session} sh";

        string output = await HostProgram.RunAsync("env", "TERM=vt100", "script", "-qec", $"stty cols 90 rows 20; {cli}; stty -a", "/dev/null");

        Assert.Contains("prompt", output, StringComparison.Ordinal);
        // The terminal is restored.
        Assert.Contains(" icanon ", output, StringComparison.Ordinal);
        Assert.Equal($"POST /sessions/{Session}/processes " + """{"cmd":["sh"],"terminal":{"cols":90,"rows":20},"env":{"TERM":"vt100"}}""", _server.Requests.First());
    }

    private static string Output(string stream, int offset, string text) => FakeSessionServer.Event(stream, new() { ["offset"] = offset, ["text"] = text });

    private static string Ended(int exitCode) => FakeSessionServer.Event("ended", new() { ["termination"] = "exited", ["exit_code"] = exitCode, ["signal"] = null, ["left_behind"] = 0 });

    private void AnswerProcess(params string[] attachments)
    {
        _server.Answer($"POST /sessions/{Session}/processes", 201, """{"pid":7}""").Answer($"POST {Process}/stdin", 200, "{}").Answer($"DELETE {Process}", 200, "{}");
        foreach (string events in attachments)
        {
            _server.Answer($"GET {Process}/events", 200, events);
        }
    }

    private Task<CliResult> RunAsync(params string[] arguments) => CliProcess.RunAsync([arguments[0], "--server", _server.Address, .. arguments[1..]]);
}
