using System.Text.Json.Nodes;
using Boxer.Networking;
using Boxer.Tests.Support;

namespace Boxer.Tests.HttpHost.Sessions;

/// <summary>Tests of sessions over HTTP: opening, finding, changing and ending them, and who may.</summary>
public abstract class SessionTests(ContractHost contract) : ContractTests(contract)
{
    private static readonly JsonObject TwoKeys = new() { ["api_keys"] = new JsonArray("alpha", "beta") };

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>Every request to a session that is a call, with a valid body.</summary>
    public static TheoryData<string, string, string?> Calls => new()
    {
        { "POST", "/exec", """{"cmd": ["a"]}""" },
        { "POST", "/exec/stream", """{"cmd": ["a"]}""" },
        { "POST", "/processes", """{"cmd": ["a"]}""" },
        { "DELETE", "/processes/1", null },
        { "GET", "/processes/1/events", null },
        { "POST", "/processes/1/signal", """{"signal": 15}""" },
        { "POST", "/processes/1/resize", """{"cols": 1, "rows": 1}""" },
        { "GET", "/files?path=a", null },
        { "PUT", "/files?path=a", "x" },
        { "DELETE", "/files?path=a", null },
        { "GET", "/files/stat?path=a", null },
        { "GET", "/files/list", null },
        { "POST", "/files/move", """{"from": "a", "to": "b"}""" },
        { "POST", "/files/mkdir", """{"path": "d"}""" },
        { "GET", "/files/tar", null },
        { "GET", "/files/watch", null },
        { "PUT", "/files/tar", "x" },
    };

    /// <summary>Every other request to a session.</summary>
    public static TheoryData<string, string, string?> Others => new()
    {
        { "GET", "", null },
        { "PATCH", "", "{}" },
        { "DELETE", "", null },
        { "POST", "/pause", null },
        { "POST", "/resume", null },
        { "GET", "/processes", null },
        { "GET", "/processes/1", null },
        { "POST", "/processes/1/stdin", "x" },
        { "GET", "/ports/80", null },
    };

    [Fact]
    public async Task Open_passes_every_field_on_and_returns_the_session()
    {
        await using HostFixture host = await StartAsync();
        await host.UploadAsync("up/a.py", "a");

        Answer answer = await OpenAsync(host, """
            {"image": "python:3.12-slim", "network": "sandbox", "egress": {"allow": ["pypi.org:443"]}, "limits": {"memory_mb": 64, "wall_clock_secs": 2},
             "env": {"A": "1"}, "user": "1000", "cwd": "/work", "pull": "never", "labels": {"who": "me"}, "idle_timeout_secs": 1.5, "lifetime_secs": 60,
             "files": ["up/a.py"], "inputs": [{"path": "b", "content": "b"}], "workspace": {"path": "/w", "files": [{"path": "c", "content": "c"}]}}
            """);

        Assert.Equal(201, answer.Status);
        SandboxSessionRequest request = Assert.Single(host.Sessions.Requests);
        Assert.Equal(
            ("python:3.12-slim", "sandbox", "1000", "/work", Boxer.Images.PullPolicy.Never, 64 * ByteSize.MiB, TimeSpan.FromSeconds(2)),
            (request.Image, request.Network, request.User, request.WorkingDirectory, request.PullPolicy, request.Limits.MemoryBytes, request.Limits.WallClock));
        Assert.Equal(("1", "me", "pypi.org:443", "/w"), (request.Environment["A"], request.Labels["who"], Assert.Single(request.Egress!.Allow!), request.Workspace!.Path));
        Assert.Equal((TimeSpan.FromSeconds(1.5), TimeSpan.FromMinutes(1), 0L), (request.IdleTimeout, request.Lifetime, request.Workspace.MaxChangesBytes));
        Assert.Equal(["up/a.py", "b"], request.Files.Select(file => file.Path));
        ScriptedSession session = Assert.Single(host.Sessions.All);
        Assert.Equal($"/sessions/{session.Id}", answer.Response.Headers.Location!.OriginalString);
        Assert.Equal((session.Id, "idle", "sha256:0123", 1.5, 60, "me"), ((string)answer.Json["id"]!, (string)answer.Json["state"]!, (string)answer.Json["image_digest"]!,
            (double)answer.Json["idle_timeout_secs"]!, (double)answer.Json["lifetime_secs"]!, (string)answer.Json["labels"]!["who"]!));
        Assert.True(answer.Json.AsObject().TryGetPropertyValue("ended", out JsonNode? ended) && ended is null);
        Assert.NotNull(answer.Json["expires_at"]);
        Assert.Equal(404, (await host.DownloadAsync("up/a.py")).Status);
    }

    [Fact]
    public async Task Open_keeps_uploads_with_persist_and_when_it_fails()
    {
        await using HostFixture host = await StartAsync();
        await host.UploadAsync("a", "x");
        host.Sessions.BeforeOpen = (_, _) => throw new ImageNotFoundException("No such image.");
        Assert.Equal(404, (await OpenAsync(host, """{"image": "i", "files": ["a"]}""")).Status);
        Assert.Equal(200, (await host.DownloadAsync("a")).Status);

        host.Sessions.BeforeOpen = (_, _) => Task.CompletedTask;
        Assert.Equal(201, (await OpenAsync(host, """{"image": "i", "files": ["a"], "persist": true}""")).Status);
        Assert.Equal(200, (await host.DownloadAsync("a")).Status);
    }

    [Theory]
    [InlineData("{}", "image: is missing; name an image such as python:3.12-slim.")]
    [InlineData("""{"image": "i", "network": "host"}""", "network: \"host\" is not a network of sessions; use one of none, sandbox.")]
    [InlineData("""{"image": "i", "cmd": ["a"]}""", "cmd: is not run by a session itself; send it to POST /sessions/{id}/exec.")]
    [InlineData("""{"image": "i", "idle_timeout_secs": 0.5, "lifetime_secs": 604801}""", "idle_timeout_secs: must be a number of seconds from 1 to 604800, not 0.5. lifetime_secs: must be a number of seconds from 1 to 604800, not 604801.")]
    [InlineData("""{"image": "i", "labels": ["a"], "colour": 1, "limits": {"memory_mb": "x"}}""", "colour: is not a field of the request; remove it or use one of image, network, egress, limits, env, user, cwd, workspace, files, inputs, persist, pull, labels, idle_timeout_secs, lifetime_secs. limits.memory_mb: must be a whole number from 32 to 1048576, or 0 for the default, not \"x\". labels: must be an object of names and texts, not a list.")]
    [InlineData("""{"image": "i", "labels": {"a": 1}}""", "labels.a: must be a text, not 1.")]
    [InlineData("""{"image": "i", "files": ["none"]}""", "files[0]: 'none' was not uploaded, or was deleted after a run that did not persist; upload it first.")]
    [InlineData("[]", "the body must be a JSON object, not a list.")]
    public async Task Open_names_all_faults(string body, string error)
    {
        await using HostFixture host = await StartAsync();

        Answer answer = await OpenAsync(host, body);

        Assert.Equal((400, error), (answer.Status, answer.Error));
        Assert.Empty(host.Sessions.Requests);
    }

    [Fact]
    public async Task Open_refuses_the_network_host_also_where_runs_may_use_it()
    {
        await using HostFixture host = await StartAsync();

        Assert.Equal(200, (await host.RunAsync("""{"image": "i", "cmd": ["a"], "network": "host"}""")).Status);
        Assert.Equal(400, (await OpenAsync(host, """{"image": "i", "network": "host"}""")).Status);
    }

    [Fact]
    public async Task Open_honours_the_networks_of_a_key()
    {
        await using HostFixture host = await StartAsync(new JsonObject { ["api_keys"] = new JsonArray("alpha"), ["allowed_networks"] = new JsonArray("none") });
        using HttpClient alpha = host.NewClient("alpha");

        Assert.Equal("network: \"sandbox\" is not a network of sessions; use one of none.", (await OpenAsync(host, """{"image": "i", "network": "sandbox"}""", alpha)).Error);
    }

    [Fact]
    public async Task Open_names_faults_of_the_session_by_fields_of_the_request()
    {
        await using HostFixture host = await StartAsync();
        host.Sessions.BeforeOpen = (_, _) => throw new InvalidSandboxRequestException(
            new SandboxFault("Labels[a]", "Is too long."), new SandboxFault("IdleTimeout", "Is too long."), new SandboxFault("Limits.DiskBytes", "Is too much."));

        Assert.Equal("labels[a]: Is too long. idle_timeout_secs: Is too long. limits.disk_mb: Is too much.", (await OpenAsync(host)).Error);
    }

    [Theory]
    [InlineData(429)]
    [InlineData(502)]
    [InlineData(500)]
    public async Task Open_has_a_status_for_each_failure(int status)
    {
        await using HostFixture host = await StartAsync();
        host.Sessions.BeforeOpen = (_, _) => throw (status switch
        {
            429 => new SandboxCapacityException("Too many sessions.", TimeSpan.FromSeconds(7)),
            502 => new ImagePullException("no"),
            _ => new SandboxRuntimeException("/secret"),
        });

        Answer answer = await OpenAsync(host);

        Assert.Equal(status, answer.Status);
        Assert.DoesNotContain("secret", answer.Text, StringComparison.Ordinal);
        Assert.Equal(status == 429 ? "7" : "", answer.Response.Headers.RetryAfter?.ToString() ?? "");
    }

    [Fact]
    [Slow]
    public async Task A_client_that_disconnects_while_its_session_opens_leaves_none()
    {
        await using HostFixture host = await StartAsync();
        TaskCompletionSource entered = new(), cancelled = new();
        host.Sessions.BeforeOpen = async (_, token) =>
        {
            entered.TrySetResult();
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, token).ContinueWith(_ => cancelled.TrySetResult(), TaskScheduler.Default);
        };
        using (RawClient client = await RawClient.ConnectAsync(host.Address))
        {
            await client.SendAsync("POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n{\"image\": \"i\"}");
            await entered.Task.WaitAsync(TimeSpan.FromSeconds(30), Cancel);
        }

        await cancelled.Task.WaitAsync(TimeSpan.FromSeconds(30), Cancel);

        // This script opens it nevertheless, as a race does.
        await Until.IsSoAsync(() => host.Sessions.All.Count == 1 && host.Sessions.All.All(session => session.End == SandboxSessionEnd.Closed), seconds: 60);
    }

    [Fact]
    public async Task List_has_only_open_sessions_of_the_client()
    {
        await using HostFixture host = await StartAsync(TwoKeys);
        using HttpClient alpha = host.NewClient("alpha"), beta = host.NewClient("beta");
        string first = await NewIdAsync(host, alpha), second = await NewIdAsync(host, alpha), other = await NewIdAsync(host, beta);
        host.Sessions[second].EndBy(SandboxSessionEnd.Lifetime);

        Assert.Equal([first], Ids(await host.GetAsync("/sessions", alpha)));
        Assert.Equal([other], Ids(await host.GetAsync("/sessions", beta)));

        static IEnumerable<string> Ids(Answer answer) => answer.Json.AsArray().Select(session => (string)session!["id"]!);
    }

    [Fact]
    public async Task Without_keys_the_sessions_of_the_application_itself_are_not_reached()
    {
        await using HostFixture host = await StartAsync();
        string id = await NewIdAsync(host);
        ScriptedSession[] others = [host.Sessions.Add(new ScriptedSession(null)), host.Sessions.Add(new ScriptedSession("key"))];

        Assert.Equal(id, (string?)Assert.Single((await host.GetAsync("/sessions")).Json.AsArray())!["id"]);
        foreach (ScriptedSession other in others)
        {
            Assert.Equal(404, (await host.GetAsync($"/sessions/{other.Id}")).Status);
        }
    }

    [Fact]
    public async Task Only_the_response_about_one_session_has_its_network()
    {
        await using HostFixture host = await StartAsync();
        string id = await NewIdAsync(host);
        host.Sessions[id].IsPaused = true;
        host.Sessions[id].Network = new NetworkReport { BytesIn = 5, BytesOut = 3, Denied = [new("10.0.0.1", null, 80, "tcp", 2), new(null, "a.test", 53, "dns", 1)] };

        JsonNode found = (await host.GetAsync($"/sessions/{id}")).Json;

        Assert.Equal("""{"bytes_in":5,"bytes_out":3}""", found["network_usage"]!.ToJsonString());
        Assert.Equal(
            """[{"address":"10.0.0.1","port":80,"protocol":"tcp","count":2},{"domain":"a.test","port":53,"protocol":"dns","count":1}]""",
            found["network_denied"]!.ToJsonString());
        Assert.Null(found["network_incomplete"]);
        Assert.DoesNotContain("network_", (await host.GetAsync("/sessions")).Text, StringComparison.Ordinal);
        Assert.DoesNotContain("network_", (await host.SendJsonAsync("PATCH", $"/sessions/{id}", "{}")).Text, StringComparison.Ordinal);
        host.Sessions[id].Network = NetworkReport.None;
        Assert.DoesNotContain("network_", (await host.GetAsync($"/sessions/{id}")).Text, StringComparison.Ordinal);
        host.Sessions[id].Network = null;
        Answer unread = await host.GetAsync($"/sessions/{id}");
        Assert.Equal((200, "paused"), (unread.Status, (string?)unread.Json["state"]));
        Assert.Contains("could not read", (string?)unread.Json["network_incomplete"], StringComparison.Ordinal);
        Assert.DoesNotContain("nft", unread.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task List_is_bounded()
    {
        await using HostFixture host = await StartAsync();
        for (int i = 0; i < 1_001; i++)
        {
            host.Sessions.Add(new ScriptedSession("shared"));
        }

        Answer answer = await host.GetAsync("/sessions");

        Assert.Equal((1_000, "true"), (answer.Json.AsArray().Count, answer.Response.Headers.GetValues("X-Boxer-Incomplete").Single()));
    }

    [Theory]
    [MemberData(nameof(Calls))]
    [MemberData(nameof(Others))]
    public async Task A_session_of_another_key_is_404_as_one_that_never_was(string method, string path, string? body)
    {
        await using HostFixture host = await StartAsync(TwoKeys);
        using HttpClient alpha = host.NewClient("alpha"), beta = host.NewClient("beta");
        string id = await NewIdAsync(host, alpha);
        await host.SendJsonAsync("POST", $"/sessions/{id}/processes", """{"cmd": ["a"], "terminal": {"cols": 80, "rows": 24}}""", alpha);

        Answer foreign = await SendAsync(host, method, $"/sessions/{id}{path}", body, beta);
        Answer unknown = await SendAsync(host, method, $"/sessions/{new string('a', 24)}{path}", body, beta);
        host.Sessions[id].EndBy(SandboxSessionEnd.Lifetime);
        Answer ended = await SendAsync(host, method, $"/sessions/{id}{path}", body, beta);

        Assert.Equal((404, "there is no such session; it never existed, or it ended more than an hour ago."), (foreign.Status, foreign.Error));
        Assert.Equal((foreign.Status, foreign.Text), (unknown.Status, unknown.Text));
        Assert.Equal((foreign.Status, foreign.Text), (ended.Status, ended.Text));
        Assert.Single(host.Sessions[id].Commands);
    }

    [Theory]
    [InlineData("a")]
    [InlineData("AAAAAAAAAAAAAAAAAAAAAAAA")]
    [InlineData("aaaaaaaaaaaaaaaaaaaaaaa-")]
    [InlineData("aaaaaaaaaaaaaaaaaaaaaaa%2F")]
    [InlineData("%2e%2e%2faaaaaaaaaaaaaaaaaaaa")]
    [InlineData("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
    public async Task An_invalid_id_is_404(string id)
    {
        await using HostFixture host = await StartAsync();

        Answer answer = await host.GetAsync($"/sessions/{id}");

        Assert.Equal((404, true), (answer.Status, answer.Error.Length > 0));
    }

    [Theory]
    [MemberData(nameof(Calls))]
    [MemberData(nameof(Others))]
    public async Task A_request_to_a_session_that_ended_is_410_with_the_reason(string method, string path, string? body)
    {
        await using HostFixture host = await StartAsync();
        foreach ((SandboxSessionEnd end, string name) in new[]
        {
            (SandboxSessionEnd.Closed, "closed"), (SandboxSessionEnd.IdleTimeout, "idle_timeout"), (SandboxSessionEnd.Lifetime, "lifetime"),
            (SandboxSessionEnd.MemoryLimit, "memory_limit"), (SandboxSessionEnd.SandboxDied, "sandbox_died"), (SandboxSessionEnd.HostStopped, "host_stopped"),
        })
        {
            string id = await NewIdAsync(host);
            host.Sessions[id].EndBy(end);

            Answer answer = await SendAsync(host, method, $"/sessions/{id}{path}", body);

            Assert.Equal((410, name), (answer.Status, (string?)answer.Json["ended"]));
            Assert.StartsWith("The session ended: ", answer.Error, StringComparison.Ordinal);
        }
    }

    [Theory]
    [MemberData(nameof(Calls))]
    public async Task A_call_on_a_paused_session_is_409_unless_it_resumes(string method, string path, string? body)
    {
        await using HostFixture host = await StartAsync();
        string id = await NewIdAsync(host);
        ScriptedSession session = host.Sessions[id];
        await host.SendJsonAsync("POST", $"/sessions/{id}/processes", """{"cmd": ["a"], "terminal": {"cols": 80, "rows": 24}}""");
        session.Started[0].Print("x");
        session.Stored.Contents["a"] = session.Stored.Contents["."] = [1];
        Assert.Equal("paused", (string)(await SendAsync(host, "POST", $"/sessions/{id}/pause", null)).Json["state"]!);

        Answer refused = await SendAsync(host, method, $"/sessions/{id}{path}", body);
        Assert.Equal((409, "paused", "The session is paused. Resume it first, or add ?resume=true."), (refused.Status, (string?)refused.Json["state"], refused.Error));
        Assert.True(session.IsPaused);

        if (path.EndsWith("/events", StringComparison.Ordinal))
        {
            session.Started[0].Finish(new SandboxProcessEnd(Termination.Exited(0)));
        }

        Answer resumed = await SendAsync(host, method, $"/sessions/{id}{path}{(path.Contains('?', StringComparison.Ordinal) ? '&' : '?')}resume=true", body);
        Assert.InRange(resumed.Status, 200, 201);
        Assert.False(session.IsPaused);
    }

    [Fact]
    public async Task An_invalid_request_does_not_resume_a_paused_session()
    {
        await using HostFixture host = await StartAsync();
        string id = await NewIdAsync(host);
        host.Sessions[id].IsPaused = true;

        Assert.Equal("cmd: is missing; list the program and its arguments.", (await host.SendJsonAsync("POST", $"/sessions/{id}/exec?resume=true", "{}")).Error);
        Assert.Equal("resume: must be true or false, not \"yes\".", (await host.GetAsync($"/sessions/{id}/files/list?resume=yes")).Error);
        Assert.Equal(
            "path: has a NUL character; remove it. depth: must be a whole number from 1 to 64, not \"0\".",
            (await host.GetAsync($"/sessions/{id}/files/list?depth=0&path=a%00b&resume=true")).Error);
        Assert.True(host.Sessions[id].IsPaused);
    }

    [Fact]
    public async Task Requests_that_are_no_calls_leave_a_paused_session_paused()
    {
        await using HostFixture host = await StartAsync();
        string id = await NewIdAsync(host);
        host.Sessions[id].IsPaused = true;

        Answer found = await host.GetAsync($"/sessions/{id}");
        Assert.Equal((200, "paused", null), (found.Status, (string?)found.Json["state"], found.Json["expires_at"]));
        Assert.Equal(200, (await host.GetAsync($"/sessions/{id}/processes")).Status);
        Assert.Equal(200, (await host.SendJsonAsync("PATCH", $"/sessions/{id}", "{}")).Status);
        Assert.True(host.Sessions[id].IsPaused);
        Assert.Equal("idle", (string)(await host.SendAsync("POST", $"/sessions/{id}/resume")).Json["state"]!);
        Assert.Equal(200, (await host.SendAsync("POST", $"/sessions/{id}/resume")).Status);
        host.Sessions[id].IsPaused = true;
        Assert.Equal("closed", (string)(await host.SendAsync("DELETE", $"/sessions/{id}")).Json["ended"]!);
    }

    [Fact]
    public async Task Patch_changes_only_the_given_times()
    {
        await using HostFixture host = await StartAsync();
        string id = await NewIdAsync(host);

        Answer answer = await host.SendJsonAsync("PATCH", $"/sessions/{id}", """{"idle_timeout_secs": 900}""");
        Answer wrong = await host.SendJsonAsync("PATCH", $"/sessions/{id}", """{"idle_timeout_secs": "1", "colour": 2}""");

        Assert.Equal((200, 900, 3_600), (answer.Status, (double)answer.Json["idle_timeout_secs"]!, (double)answer.Json["lifetime_secs"]!));
        Assert.Equal(
            "colour: is not a field of the request; remove it or use one of idle_timeout_secs, lifetime_secs. idle_timeout_secs: must be a number of seconds from 1 to 604800, not \"1\".",
            wrong.Error);
        Assert.Equal((TimeSpan.FromMinutes(15), TimeSpan.FromHours(1)), (host.Sessions[id].IdleTimeout, host.Sessions[id].Lifetime));
    }

    [Fact]
    public async Task Delete_ends_the_calls_in_progress_with_the_reason()
    {
        await using HostFixture host = await StartAsync();
        string id = await NewIdAsync(host);
        ScriptedSession session = host.Sessions[id];
        TaskCompletionSource started = new(), ended = new();
        session.Script = (_, token) => RunTests.WaitForEnd(started, ended, token);
        await host.SendJsonAsync("POST", $"/sessions/{id}/processes", """{"cmd": ["a"]}""");
        Task<Answer> exec = host.SendJsonAsync("POST", $"/sessions/{id}/exec", """{"cmd": ["a"]}""");
        Task<Answer> stream = host.SendJsonAsync("POST", $"/sessions/{id}/exec/stream", """{"cmd": ["a"]}""");
        Task<Answer> events = host.GetAsync($"/sessions/{id}/processes/1/events");
        await Until.IsSoAsync(() => session.Commands.Count == 3 && session.Started[0].Readers == 1, seconds: 30);
        await started.Task.WaitAsync(TimeSpan.FromSeconds(30), Cancel);

        Answer deleted = await host.SendAsync("DELETE", $"/sessions/{id}");

        Assert.Equal((200, "ended", "closed"), (deleted.Status, (string)deleted.Json["state"]!, (string)deleted.Json["ended"]!));
        Assert.Equal((410, "closed"), ((await exec).Status, (string?)(await exec).Json["ended"]));
        Assert.Contains("event: end\ndata: {\"status\":410,\"error\":\"The session ended: it was closed.\",\"ended\":\"closed\"", (await stream).Text, StringComparison.Ordinal);
        Assert.Contains("event: ended\ndata: {\"termination\":\"sandbox_died\"", (await events).Text, StringComparison.Ordinal);
        Assert.Contains("\"session_ended\":\"closed\"", (await events).Text, StringComparison.Ordinal);
        Assert.Empty(host.Document.FindEventFaults((await stream).Text, "/sessions/{id}/exec/stream"));
    }

    [Theory]
    [InlineData("evil.example", "", 421)]
    [InlineData("localhost", "http://evil.example", 403)]
    public async Task Web_pages_of_other_sites_reach_no_session(string name, string origin, int status)
    {
        await using HostFixture host = await StartAsync();
        string id = await NewIdAsync(host);
        foreach (string path in new[] { "/sessions", $"/sessions/{id}", $"/sessions/{id}/processes", $"/sessions/{id}/files?path=a", $"/sessions/{id}/ports/80" })
        {
            using RawClient client = await RawClient.ConnectAsync(host.Address);
            await client.SendAsync(
                $"GET {path} HTTP/1.1\r\nHost: {name}\r\n{(origin.Length > 0 ? $"Origin: {origin}\r\n" : "")}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
            Assert.StartsWith($"HTTP/1.1 {status} ", await client.ReadStatusAsync(), StringComparison.Ordinal);
        }
    }

    [Theory]
    [MemberData(nameof(Calls))]
    [MemberData(nameof(Others))]
    public async Task Without_a_key_no_session_is_accessible(string method, string path, string? body)
    {
        await using HostFixture host = await StartAsync(TwoKeys);
        using HttpClient alpha = host.NewClient("alpha");
        string id = await NewIdAsync(host, alpha);

        Assert.Equal(401, (await SendAsync(host, method, $"/sessions/{id}{path}", body)).Status);
        Assert.Equal(401, (await OpenAsync(host)).Status);
        Assert.Equal(401, (await host.GetAsync("/sessions")).Status);
    }

    internal static Task<Answer> OpenAsync(HostFixture host, string body = """{"image": "i"}""", HttpClient? client = null) =>
        host.SendJsonAsync("POST", "/sessions", body, client);

    internal static async Task<string> NewIdAsync(HostFixture host, HttpClient? client = null)
    {
        Answer opened = await OpenAsync(host, client: client);
        Assert.Equal(201, opened.Status);
        return (string)opened.Json["id"]!;
    }

    private static Task<Answer> SendAsync(HostFixture host, string method, string path, string? body, HttpClient? client = null) =>
        host.SendAsync(method, path, body is null ? null : new StringContent(body), client);
}

public sealed class HttpHostSessionTests() : SessionTests(ContractHost.HttpHost);

public sealed class MinimalApiSessionTests() : SessionTests(ContractHost.MinimalApi);
