using System.Net.WebSockets;
using System.Text.Json.Nodes;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>Complaints that users of other products have about their sessions, each as a test of the HTTP host with its clients.</summary>
[Collection(Sandboxes.Name)]
public sealed class HttpSessionComplaintTests(SharedHost shared, SharedRunner runner) : IClassFixture<SharedHost>, IAsyncLifetime
{
    // A call that hangs fails the test, also on a busy machine.
    private static readonly TimeSpan Hangs = TimeSpan.FromMinutes(2);
    private HostProcess? _host;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private HttpClient Client => _host!.Client;

    public async ValueTask InitializeAsync()
    {
        await runner.PullAsync();
        _host = await shared.StartAsync(new JsonObject { ["api_keys"] = new JsonArray("first", "second"), ["stop_grace_secs"] = 1 });
        Client.DefaultRequestHeaders.Authorization = new("Bearer", "first");
    }

    public async ValueTask DisposeAsync() => await shared.EndTestAsync();

    [Fact]
    public async Task Background_children_that_hold_the_pipes_do_not_hang_a_call()
    {
        HttpSession session = await HttpSession.OpenAsync(Client);
        JsonNode exec = await session.ExecAsync("sleep 1000 & echo done").WaitAsync(Hangs, Cancel);
        using HttpResponseMessage stream = await session.OpenAsync(HttpMethod.Post, "/exec/stream", new JsonObject { ["cmd"] = new JsonArray("sh", "-c", "sleep 1000 & echo done") });
        List<(string Name, JsonNode Data)> events = await HttpSession.ReadEventsAsync(stream).WaitAsync(Hangs, Cancel);
        int pid = await session.StartAsync([], "sh", "-c", "sleep 1000 & echo done");
        using HttpResponseMessage process = await session.OpenAsync(HttpMethod.Get, $"/processes/{pid}/events");
        List<(string Name, JsonNode Data)> processEvents = await HttpSession.ReadEventsAsync(process).WaitAsync(Hangs, Cancel);

        Assert.Equal(("done\n", 0, 1), ((string?)exec["stdout"], (int?)exec["exit_code"], (int?)exec["left_behind"]));
        Assert.Equal(1, (int?)events[^1].Data["left_behind"]);
        Assert.Equal(("ended", 1), (processEvents[^1].Name, (int?)processEvents[^1].Data["left_behind"]));
        Assert.Equal("alive\n", (string?)(await session.ExecAsync("echo alive"))["stdout"]);
    }

    [Fact]
    public async Task Heredocs_work_and_standard_input_that_is_left_open_does_not_hang_a_call()
    {
        HttpSession session = await HttpSession.OpenAsync(Client);

        Assert.Equal("one\n$two\n", (string?)(await session.ExecAsync("cat <<'EOF'\none\n$two\nEOF\n").WaitAsync(Hangs, Cancel))["stdout"]);
        Assert.Equal("", (string?)(await session.ExecAsync("cat").WaitAsync(Hangs, Cancel))["stdout"]);
        Assert.Equal("typed", (string?)(await session.ExecAsync("cat", new JsonObject { ["stdin"] = "typed" }).WaitAsync(Hangs, Cancel))["stdout"]);

        // The input of a process stays open until its end is sent.
        int pid = await session.StartAsync([], "sh", "-c", "read line; echo \"$line\"; cat >/dev/null; echo end");
        using (var typed = new ByteArrayContent("typed\n"u8.ToArray()))
        {
            (await Client.PostAsync(new Uri($"/sessions/{session.Id}/processes/{pid}/stdin", UriKind.Relative), typed, Cancel)).EnsureSuccessStatusCode();
        }

        using (var nothing = new ByteArrayContent([]))
        {
            (await Client.PostAsync(new Uri($"/sessions/{session.Id}/processes/{pid}/stdin?end=true", UriKind.Relative), nothing, Cancel)).EnsureSuccessStatusCode();
        }

        using HttpResponseMessage process = await session.OpenAsync(HttpMethod.Get, $"/processes/{pid}/events");
        List<(string Name, JsonNode Data)> events = await HttpSession.ReadEventsAsync(process).WaitAsync(Hangs, Cancel);
        Assert.Equal("typed\nend\n", string.Concat(events.Where(item => item.Name == "stdout").Select(item => (string?)item.Data["text"])));
        Assert.Equal(("ended", 0), (events[^1].Name, (int?)events[^1].Data["exit_code"]));
    }

    [Fact]
    public async Task A_session_does_not_end_before_its_time()
    {
        Task reading = ReadAsync();
        HttpSession session = await HttpSession.OpenAsync(Client, new JsonObject { ["idle_timeout_secs"] = 2 });

        // Three times the idle timeout, in one call.
        Assert.Equal("still here\n", (string?)(await session.ExecAsync("sleep 6; echo still here"))["stdout"]);
        JsonNode now = (await session.MustAsync(HttpMethod.Get, ""))!;
        Assert.Null((string?)now["ended"]);

        // It ends at the time that it announces, and not before.
        DateTimeOffset expiresAt = (DateTimeOffset)now["expires_at"]!;
        JsonNode end = await WaitForEndAsync(session);
        Assert.Equal("idle_timeout", (string?)end["ended"]);
        Assert.True(DateTimeOffset.UtcNow >= expiresAt - TimeSpan.FromMilliseconds(50), $"ended before {expiresAt}");
        await reading;

        // A reader that is attached is a call, too.
        async Task ReadAsync()
        {
            HttpSession other = await HttpSession.OpenAsync(Client, new JsonObject { ["idle_timeout_secs"] = 2 });
            int pid = await other.StartAsync([], "sh", "-c", "sleep 6; echo still here");
            using HttpResponseMessage process = await other.OpenAsync(HttpMethod.Get, $"/processes/{pid}/events");
            List<(string Name, JsonNode Data)> events = await HttpSession.ReadEventsAsync(process);
            Assert.Equal(0, (int?)events[^1].Data["exit_code"]);
            Assert.Null((string?)(await other.MustAsync(HttpMethod.Get, ""))!["ended"]);
        }
    }

    [Fact]
    public async Task Each_timeout_ends_what_it_is_for_and_says_which_it_was()
    {
        HttpSession session = await HttpSession.OpenAsync(Client);
        int server = await session.StartAsync([], "sleep", "1000");
        var limited = new JsonObject { ["cmd"] = new JsonArray("sleep", "1000"), ["limits"] = new JsonObject { ["wall_clock_secs"] = 1 } };
        (int lateStatus, JsonNode? late) = await session.SendAsync(HttpMethod.Post, "/exec", limited);
        using (var gone = CancellationTokenSource.CreateLinkedTokenSource(Cancel))
        {
            // A client that goes away ends its call, and not the session.
            gone.CancelAfter(TimeSpan.FromSeconds(1));
            var body = new JsonObject { ["cmd"] = new JsonArray("sh", "-c", "echo $$ > /tmp/pid; exec sleep 1000") };
            using var content = new StringContent(body.ToJsonString(), System.Text.Encoding.UTF8, "application/json");
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Client.PostAsync(new Uri($"/sessions/{session.Id}/exec", UriKind.Relative), content, gone.Token));
        }

        Assert.Equal((408, "wall_clock_limit"), (lateStatus, (string?)late!["termination"]));
        Assert.Equal("gone\n", (string?)(await session.ExecAsync("while kill -0 $(cat /tmp/pid) 2>/dev/null; do sleep 0.1; done; echo gone").WaitAsync(Hangs, Cancel))["stdout"]);
        Assert.Null((await session.MustAsync(HttpMethod.Get, $"/processes/{server}"))!["ended"]);
        Assert.Null((string?)(await session.MustAsync(HttpMethod.Get, ""))!["ended"]);

        HttpSession shortLived = await HttpSession.OpenAsync(Client, new JsonObject { ["lifetime_secs"] = 3 });
        var exec = new JsonObject { ["cmd"] = new JsonArray("sleep", "1000") };
        (int duringCall, JsonNode? during) = await shortLived.SendAsync(HttpMethod.Post, "/exec", exec);
        (int afterwards, JsonNode? after) = await shortLived.SendAsync(HttpMethod.Post, "/exec", exec);
        Assert.Equal((410, "lifetime"), (duringCall, (string?)during!["ended"]));
        Assert.Equal((410, "lifetime"), (afterwards, (string?)after!["ended"]));
    }

    [Fact]
    public async Task Every_stream_says_so_if_the_sandbox_dies()
    {
        HttpSession session = await HttpSession.OpenAsync(Client);
        int pid = await session.StartAsync([], "sh", "-c", "echo up; sleep 1000");
        await session.ServeAsync(8000);
        await session.ExecAsync("head -c 8000000 /dev/zero > /tmp/file");
        using HttpResponseMessage file = await session.OpenAsync(HttpMethod.Get, "/files?path=/tmp/file");
        using HttpResponseMessage archive = await session.OpenAsync(HttpMethod.Get, "/files/tar?path=/tmp");
        using ClientWebSocket socket = await session.ConnectAsync(8000);
        using HttpResponseMessage process = await session.OpenAsync(HttpMethod.Get, $"/processes/{pid}/events");
        using HttpResponseMessage exec = await session.OpenAsync(HttpMethod.Post, "/exec/stream", new JsonObject { ["cmd"] = new JsonArray("sh", "-c", "echo up; sleep 1000") });
        foreach ((int id, string commandLine) in ProcessList.Read())
        {
            if (commandLine.Split('\0') is ["runsc-sandbox", ..] and var arguments && arguments.Any(argument => argument.StartsWith("--root=/run/boxer/", StringComparison.Ordinal)))
            {
                _ = Native.Signal.kill(id, Native.Signal.SIGKILL);
            }
        }

        (string name, JsonNode end) = (await HttpSession.ReadEventsAsync(exec).WaitAsync(Hangs, Cancel))[^1];
        (string processName, JsonNode processEnd) = (await HttpSession.ReadEventsAsync(process).WaitAsync(Hangs, Cancel))[^1];
        WebSocketReceiveResult close = await socket.ReceiveAsync(new byte[1000], Cancel).WaitAsync(Hangs, Cancel);
        (int status, JsonNode? later) = await session.SendAsync(HttpMethod.Post, "/exec", new JsonObject { ["cmd"] = new JsonArray("true") });

        Assert.Contains("sandbox_died", $"{name} {end}", StringComparison.Ordinal);
        Assert.Equal("ended", processName);
        Assert.Contains("sandbox_died", $"{processEnd}", StringComparison.Ordinal);
        Assert.Equal((4410, "sandbox_died"), ((int)socket.CloseStatus!, socket.CloseStatusDescription));
        Assert.Equal(WebSocketMessageType.Close, close.MessageType);
        await Assert.ThrowsAnyAsync<Exception>(() => file.Content.CopyToAsync(Stream.Null, Cancel).WaitAsync(Hangs, Cancel));
        await Assert.ThrowsAnyAsync<Exception>(() => archive.Content.CopyToAsync(Stream.Null, Cancel).WaitAsync(Hangs, Cancel));
        Assert.Equal((410, "sandbox_died"), (status, (string?)later!["ended"]));
    }

    [Fact]
    public async Task Lists_do_not_grow()
    {
        const int Sessions = 6;
        const int Processes = 105;
        const int KeptProcesses = 100;
        for (int i = 0; i < Sessions; i++)
        {
            await (await HttpSession.OpenAsync(Client)).MustAsync(HttpMethod.Delete, "");
        }

        HttpSession session = await HttpSession.OpenAsync(Client);
        for (int i = 0; i < Processes; i++)
        {
            int pid = await session.StartAsync([], "true");
            using HttpResponseMessage events = await session.OpenAsync(HttpMethod.Get, $"/processes/{pid}/events");
            await HttpSession.ReadEventsAsync(events);
        }

        Assert.Single(JsonNode.Parse(await Client.GetStringAsync(new Uri("/sessions", UriKind.Relative), Cancel))!.AsArray());
        Assert.InRange((await session.MustAsync(HttpMethod.Get, "/processes"))!.AsArray().Count, 1, KeptProcesses);
    }

    [Fact]
    public async Task A_forgotten_session_uses_no_processor_time_and_ends()
    {
        const int Seconds = 5;
        HttpSession session = await HttpSession.OpenAsync(Client);
        await session.ExecAsync("while :; do :; done & echo started");
        await Until.IsSoAsync(SandboxCgroups.AreFrozen, 60);
        TimeSpan before = SandboxCgroups.ProcessorTime();
        await Task.Delay(TimeSpan.FromSeconds(Seconds), Cancel);

        Assert.InRange(SandboxCgroups.ProcessorTime() - before, TimeSpan.Zero, TimeSpan.FromMilliseconds(10));
        await session.MustAsync(HttpMethod.Patch, "", new JsonObject { ["idle_timeout_secs"] = 1 });
        Assert.Equal("idle_timeout", (string?)(await WaitForEndAsync(session))["ended"]);
    }

    [Fact]
    public async Task The_environment_of_one_command_is_not_seen_by_another_or_in_lists()
    {
        const string Secret = "sk-secret-of-one-command";
        HttpSession session = await HttpSession.OpenAsync(Client, new JsonObject { ["user"] = "1000" });
        int pid = await session.StartAsync(new JsonObject { ["env"] = new JsonObject { ["TOKEN"] = Secret } }, "sleep", "1000");
        await session.ExecAsync("true", new JsonObject { ["env"] = new JsonObject { ["TOKEN"] = Secret } });
        string seen = $"{await session.ExecAsync("env")}"
            + $"{await session.ExecAsync("env", new JsonObject { ["user"] = "1001", ["cwd"] = "/" })}";
        string listed = $"{await session.MustAsync(HttpMethod.Get, "")} {await session.MustAsync(HttpMethod.Get, "/processes")} {await session.MustAsync(HttpMethod.Get, $"/processes/{pid}")}"
            + await Client.GetStringAsync(new Uri("/sessions", UriKind.Relative), Cancel);
        using HttpClient other = _host!.NewClient("second");
        using HttpResponseMessage foreign = await other.GetAsync(new Uri($"/sessions/{session.Id}", UriKind.Relative), Cancel);

        Assert.DoesNotContain(Secret, seen, StringComparison.Ordinal);
        Assert.Contains("sleep", listed, StringComparison.Ordinal);
        Assert.DoesNotContain(Secret, listed, StringComparison.Ordinal);
        Assert.Equal((404, "[]"), ((int)foreign.StatusCode, await other.GetStringAsync(new Uri("/sessions", UriKind.Relative), Cancel)));
    }

    private async Task<JsonNode> WaitForEndAsync(HttpSession session)
    {
        for (int attempt = 0; ; attempt++)
        {
            // Reading a session is no call.
            (int status, JsonNode? now) = await session.SendAsync(HttpMethod.Get, "");
            if (status == 410)
            {
                return now!;
            }

            Assert.Equal(200, status);
            Assert.True(attempt < 600, "The session does not end.");
            await Task.Delay(TimeSpan.FromMilliseconds(200), Cancel);
        }
    }
}
