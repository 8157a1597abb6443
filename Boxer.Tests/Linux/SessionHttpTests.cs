using System.Diagnostics;
using System.Formats.Tar;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json.Nodes;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>Sessions over HTTP: the host as a process of its own, with real sandboxes.</summary>
[Collection(Sandboxes.Name)]
public sealed class SessionHttpTests(SharedHost shared) : IClassFixture<SharedHost>, IAsyncLifetime
{
    private HostProcess? _host;
    private string _session = "";

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private HttpClient Client => _host!.Client;

    public async ValueTask InitializeAsync()
    {
        _host = await shared.StartAsync(new JsonObject { ["stop_grace_secs"] = 1 });
        (int status, JsonNode opened) = await SendAsync("POST", "/sessions", new JsonObject { ["image"] = PythonImage.Name, ["workspace"] = new JsonObject() });
        Assert.Equal((201, null), (status, (string?)opened["ended"]));
        _session = $"/sessions/{opened["id"]}";
    }

    public async ValueTask DisposeAsync() => await shared.EndTestAsync();

    [Fact]
    public async Task Files_commands_and_their_results_stay_between_requests()
    {
        await PutAsync("src/main.py", "import sys\nopen('log', 'a').write('x')\nprint(open('log').read(), sys.stdin.read())\n");

        Assert.Equal((200, "x hello\n"), await ExecAsync("python3 src/main.py", "hello"));
        Assert.Equal((200, "xx \n"), await ExecAsync("python3 src/main.py"));

        Assert.Equal("xx", await Client.GetStringAsync(Uri($"{_session}/files?path=/workspace/log"), Cancel));
        (_, JsonNode entries) = await SendAsync("GET", _session + "/files/list?depth=2");
        Assert.Equal(["log", "src", "src/main.py"], entries.AsArray().Select(entry => (string)entry!["path"]!).Order(StringComparer.Ordinal));
        Assert.Equal(200, (await SendAsync("POST", _session + "/files/move", new JsonObject { ["from"] = "log", ["to"] = "src/log" })).Status);
        Assert.Equal(200, (await SendAsync("DELETE", _session + "/files?path=src/main.py")).Status);
        Assert.Equal(404, (await SendAsync("GET", _session + "/files/stat?path=src/main.py")).Status);
        Assert.Equal(400, (await SendAsync("GET", _session + "/files?path=src")).Status);
        Assert.Equal(403, (await SendAsync("GET", _session + "/files?path=/proc/1/environ")).Status);
    }

    [Fact]
    public async Task A_directory_goes_in_and_out_as_a_tar_archive()
    {
        using ByteArrayContent archive = new(new Archive().File("a/b", "content").Directory("empty").ToBytes());
        using HttpResponseMessage put = await Client.PutAsync(Uri(_session + "/files/tar?path=tree"), archive, Cancel);
        Assert.True(put.IsSuccessStatusCode, await put.Content.ReadAsStringAsync(Cancel));

        Assert.Equal((200, "content"), await ExecAsync("cat tree/a/b"));
        await using Stream tar = await Client.GetStreamAsync(Uri(_session + "/files/tar?path=tree"), Cancel);
        using TarReader reader = new(tar);
        List<string> names = [];
        while (await reader.GetNextEntryAsync(cancellationToken: Cancel) is { } entry)
        {
            names.Add(entry.Name.TrimEnd('/'));
        }

        Assert.Superset(new HashSet<string>(["a/b", "empty"], StringComparer.Ordinal), names.Select(name => name.StartsWith("./", StringComparison.Ordinal) ? name[2..] : name).ToHashSet(StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_child_that_holds_the_pipes_does_not_hang_the_command()
    {
        (int status, JsonNode answer) = await SendAsync("POST", _session + "/exec", Shell("sleep 1000 & echo done"));

        Assert.Equal((200, "done\n", 1), (status, (string?)answer["stdout"], (int?)answer["left_behind"]));
        Assert.Equal((200, "alive\n"), await ExecAsync("until for p in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$p 2>/dev/null; echo; done | grep -q '^sleep 1000'; do sleep 0.1; done; echo alive"));
    }

    [Fact]
    public async Task Input_that_is_not_given_is_empty_and_heredocs_end()
    {
        Assert.Equal((200, "end\n"), await ExecAsync("cat; echo end"));
        Assert.Equal((200, "line\n"), await ExecAsync("cat <<X\nline\nX"));
    }

    [Fact]
    public async Task A_limit_of_a_command_ends_the_command_and_not_the_session()
    {
        JsonObject command = Shell("echo before; sleep 1000");
        command["limits"] = new JsonObject { ["wall_clock_secs"] = 3 };

        (int status, JsonNode answer) = await SendAsync("POST", _session + "/exec", command);

        Assert.Equal((408, "wall_clock_limit", "before\n"), (status, (string?)answer["termination"], (string?)answer["stdout"]));
        Assert.Equal((200, "alive\n"), await ExecAsync("echo alive"));
    }

    [Fact]
    public async Task Secrets_of_a_command_are_in_no_other_request()
    {
        JsonObject server = Shell("sleep 1000");
        server["env"] = new JsonObject { ["TOKEN"] = "s3cret" };
        Assert.Equal(201, (await SendAsync("POST", _session + "/processes", server)).Status);

        foreach (string path in new[] { "/sessions", _session, _session + "/processes", _session + "/processes/1" })
        {
            Assert.DoesNotContain("s3cret", await Client.GetStringAsync(Uri(path), Cancel), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_process_takes_input_and_its_output_is_read_again_by_offset()
    {
        int pid = await StartAsync(Shell("while read line; do echo \"got $line\"; done; echo over; exit 3"));
        string path = $"{_session}/processes/{pid}";
        using HttpResponseMessage events = await Client.GetAsync(Uri(path + "/events"), HttpCompletionOption.ResponseHeadersRead, Cancel);
        using StreamReader reader = new(await events.Content.ReadAsStreamAsync(Cancel));

        await PostAsync(path + "/stdin", "one\n");
        await ReadUntilAsync(reader, "got one");
        await PostAsync(path + "/stdin?end=true", "two\n");
        string rest = await reader.ReadToEndAsync(Cancel);

        Assert.Contains("got two", rest, StringComparison.Ordinal);
        Assert.Contains("\"exit_code\":3", rest, StringComparison.Ordinal);
        using HttpRequestMessage again = new(HttpMethod.Get, Uri(path + "/events"));
        again.Headers.Add("Last-Event-ID", "8");
        using HttpResponseMessage response = await Client.SendAsync(again, Cancel);
        string repeated = await response.Content.ReadAsStringAsync(Cancel);
        Assert.DoesNotContain("got one", repeated, StringComparison.Ordinal);
        Assert.Contains("\"offset\":8,\"text\":\"got two", repeated, StringComparison.Ordinal);
        Assert.Equal(3, (int?)(await SendAsync("GET", path)).Body["ended"]!["exit_code"]);
    }

    [Fact]
    public async Task A_terminal_has_a_size_and_takes_signals()
    {
        JsonObject command = Shell("trap 'stty size; exit 7' WINCH; stty size; while :; do sleep 0.1; done");
        command["terminal"] = new JsonObject { ["cols"] = 81, ["rows"] = 25 };
        int pid = await StartAsync(command);
        string path = $"{_session}/processes/{pid}";
        using HttpResponseMessage events = await Client.GetAsync(Uri(path + "/events"), HttpCompletionOption.ResponseHeadersRead, Cancel);
        using StreamReader reader = new(await events.Content.ReadAsStreamAsync(Cancel));
        await ReadUntilAsync(reader, "25 81");

        Assert.Equal(200, (await SendAsync("POST", path + "/resize", new JsonObject { ["cols"] = 100, ["rows"] = 40 })).Status);
        string rest = await reader.ReadToEndAsync(Cancel);
        Assert.Contains("event: output", rest, StringComparison.Ordinal);
        Assert.Contains("40 100", rest, StringComparison.Ordinal);
        Assert.Contains("\"exit_code\":7", rest, StringComparison.Ordinal);

        int sleeping = await StartAsync(Shell("exec sleep 1000"));
        Assert.Equal(200, (await SendAsync("POST", $"{_session}/processes/{sleeping}/signal", new JsonObject { ["signal"] = "SIGTERM" })).Status);
        Assert.Contains("\"signal\":15", await Client.GetStringAsync(Uri($"{_session}/processes/{sleeping}/events"), Cancel), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_run_has_a_terminal_with_a_size()
    {
        JsonObject run = Shell("stty size; python3 -c 'import sys; print(sys.stdin.isatty(), sys.stdout.isatty(), sys.stderr.isatty())'; read line; echo got $line >&2; exit 3");
        run["image"] = PythonImage.Name;
        run["stdin"] = "typed\n";
        run["terminal"] = new JsonObject { ["cols"] = 120, ["rows"] = 40 };

        (int status, JsonNode answer) = await SendAsync("POST", "/run", run);

        Assert.Equal((200, 3, ""), (status, (int?)answer["exit_code"], (string?)answer["stderr"]));
        string output = (string)answer["stdout"]!;
        Assert.Contains("40 120\r\nTrue True True\r\n", output, StringComparison.Ordinal);
        Assert.EndsWith("got typed\r\n", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_watch_reports_what_commands_change_from_its_first_event_on()
    {
        Assert.Equal((200, ""), await ExecAsync("mkdir src"));
        using HttpResponseMessage events = await Client.GetAsync(Uri(_session + "/files/watch?path=src"), HttpCompletionOption.ResponseHeadersRead, Cancel);
        using StreamReader reader = new(await events.Content.ReadAsStreamAsync(Cancel));
        await ReadUntilAsync(reader, "event: starteddata: {\"path\":\"\"}");

        await ExecAsync("echo a >src/file; mkdir src/below; echo b >src/below/other");
        await ReadUntilAsync(reader, "\"below/other\"");
        await ExecAsync("rm src/file");
        await ReadUntilAsync(reader, "event: deleteddata: {\"path\":\"file\"}");

        Assert.Equal(404, (await SendAsync("GET", _session + "/files/watch?path=none")).Status);
        Assert.Equal("closed", (string?)(await SendAsync("DELETE", _session)).Body["ended"]);
        Assert.Contains("\"ended\":\"closed\"", await reader.ReadToEndAsync(Cancel), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_process_of_a_paused_session_is_killed_only_by_a_request_that_resumes_it()
    {
        int pid = await StartAsync(Shell("sleep 1000"));
        await SendAsync("POST", _session + "/pause");

        (int status, JsonNode refused) = await SendAsync("DELETE", $"{_session}/processes/{pid}");
        Assert.Equal((409, "paused"), (status, (string?)refused["state"]));
        Assert.Null((await SendAsync("GET", $"{_session}/processes/{pid}")).Body["ended"]);

        Assert.Equal(9, (int?)(await SendAsync("DELETE", $"{_session}/processes/{pid}?resume=true")).Body["ended"]!["signal"]);
    }

    [Fact]
    public async Task A_WebSocket_reaches_a_server_in_the_sandbox_without_a_network()
    {
        Assert.Equal(200, (await ExecAsync("printf 'hello from inside' >index.html")).Status);
        await StartAsync(new JsonObject { ["cmd"] = new JsonArray("python3", "-m", "http.server", "8000", "--bind", "127.0.0.1") });
        using ClientWebSocket socket = await ConnectAsync(8_000);
        await socket.SendAsync("GET /index.html HTTP/1.0\r\n\r\n"u8.ToArray(), WebSocketMessageType.Binary, endOfMessage: true, Cancel);

        StringBuilder text = new();
        byte[] buffer = new byte[4_096];
        ValueWebSocketReceiveResult got;
        while ((got = await socket.ReceiveAsync(buffer.AsMemory(), Cancel)).MessageType != WebSocketMessageType.Close)
        {
            text.Append(Encoding.ASCII.GetString(buffer, 0, got.Count));
        }

        Assert.EndsWith("hello from inside", text.ToString(), StringComparison.Ordinal);
        Assert.Equal(WebSocketCloseStatus.NormalClosure, socket.CloseStatus);
        using HttpRequestMessage refused = new(HttpMethod.Get, Uri(_session + "/ports/9"));
        refused.Headers.TryAddWithoutValidation("Connection", "Upgrade");
        refused.Headers.TryAddWithoutValidation("Upgrade", "websocket");
        refused.Headers.TryAddWithoutValidation("Sec-WebSocket-Version", "13");
        refused.Headers.TryAddWithoutValidation("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==");
        using HttpResponseMessage answer = await Client.SendAsync(refused, Cancel);
        Assert.Equal(502, (int)answer.StatusCode);
    }

    [Fact]
    public async Task A_paused_session_refuses_calls_until_one_resumes_it()
    {
        int pid = await StartAsync(Shell("while :; do echo tick; sleep 0.1; done"));

        Assert.Equal("paused", (string?)(await SendAsync("POST", _session + "/pause")).Body["state"]);
        (int status, JsonNode refused) = await SendAsync("POST", _session + "/exec", Shell("true"));
        Assert.Equal((409, "paused"), (status, (string?)refused["state"]));
        Assert.Equal((200, "on\n"), ((int, string?))((await SendAsync("POST", _session + "/exec?resume=true", Shell("echo on"))) is var (code, body) ? (code, (string?)body["stdout"]) : default));
        Assert.Null((await SendAsync("GET", $"{_session}/processes/{pid}")).Body["ended"]);
    }

    [Fact]
    public async Task A_stream_whose_sandbox_dies_says_so()
    {
        int pid = await StartAsync(Shell("echo up; sleep 1000"));
        using HttpResponseMessage events = await Client.GetAsync(Uri($"{_session}/processes/{pid}/events"), HttpCompletionOption.ResponseHeadersRead, Cancel);
        using StreamReader reader = new(await events.Content.ReadAsStreamAsync(Cancel));
        await ReadUntilAsync(reader, "up");

        foreach (Process sandbox in Process.GetProcessesByName("exe").Concat(Process.GetProcessesByName("runsc-sandbox")).Where(process => IsBelow(process.Id, _host!.Process.Id)))
        {
            sandbox.Kill();
        }

        string rest = await reader.ReadToEndAsync(Cancel);
        Assert.Contains("\"session_ended\":\"sandbox_died\"", rest, StringComparison.Ordinal);
        Assert.Equal((410, "sandbox_died"), ((await SendAsync("GET", _session)).Status, (string?)(await SendAsync("GET", _session)).Body["ended"]));
    }

    private static bool IsBelow(int process, int ancestor)
    {
        for (int at = process; at > 1;)
        {
            if (at == ancestor)
            {
                return true;
            }

            string? stat = File.Exists($"/proc/{at}/stat") ? File.ReadAllText($"/proc/{at}/stat") : null;
            at = stat is null ? 0 : int.Parse(stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture);
        }

        return false;
    }

    private static Uri Uri(string path) => new(path, UriKind.Relative);

    private static JsonObject Shell(string script) => new() { ["cmd"] = new JsonArray("sh", "-c", script) };

    private static async Task ReadUntilAsync(StreamReader reader, string text)
    {
        string seen = "";
        while (!seen.Contains(text, StringComparison.Ordinal))
        {
            seen += await reader.ReadLineAsync(Cancel) ?? throw new InvalidOperationException($"The stream ended before '{text}': {seen}");
        }
    }

    private async Task<ClientWebSocket> ConnectAsync(int port)
    {
        while (true)
        {
            ClientWebSocket socket = new();
            try
            {
                await socket.ConnectAsync(new Uri($"{_host!.Address.Replace("http", "ws", StringComparison.Ordinal)}{_session}/ports/{port}"), Cancel);
                return socket;
            }
            catch (WebSocketException)
            {
                // The server in the sandbox does not listen yet.
                socket.Dispose();
                await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, Cancel);
            }
        }
    }

    private async Task<int> StartAsync(JsonObject command)
    {
        (int status, JsonNode started) = await SendAsync("POST", _session + "/processes", command);
        Assert.Equal((201, null), (status, started["ended"]));
        return (int)started["pid"]!;
    }

    private async Task<(int Status, string? Output)> ExecAsync(string script, string? stdin = null)
    {
        JsonObject command = Shell(script);
        command["stdin"] = stdin;
        (int status, JsonNode answer) = await SendAsync("POST", _session + "/exec", command);
        return (status, (string?)answer["stdout"]);
    }

    private async Task PutAsync(string path, string content)
    {
        using HttpResponseMessage answer = await Client.PutAsync(Uri($"{_session}/files?path={path}"), new StringContent(content), Cancel);
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync(Cancel));
    }

    private async Task PostAsync(string path, string content)
    {
        using HttpResponseMessage answer = await Client.PostAsync(Uri(path), new StringContent(content), Cancel);
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync(Cancel));
    }

    private async Task<(int Status, JsonNode Body)> SendAsync(string method, string path, JsonObject? body = null)
    {
        using HttpRequestMessage request = new(new HttpMethod(method), Uri(path)) { Content = body is null ? null : new StringContent(body.ToJsonString(), Encoding.UTF8, "application/json") };
        using HttpResponseMessage answer = await Client.SendAsync(request, Cancel);
        return ((int)answer.StatusCode, JsonNode.Parse(await answer.Content.ReadAsStringAsync(Cancel))!);
    }
}
