using System.Text;
using System.Text.Json.Nodes;
using Boxer.Tests.Support;

namespace Boxer.Tests.HttpHost;

public abstract class RunStreamTests(ContractHost contract) : ContractTests(contract)
{
    private const string Simple = """{"image": "i", "cmd": ["a"]}""";

    [Fact]
    public async Task Events_are_in_order_and_the_end_event_is_the_response_of_run()
    {
        await using HostFixture host = await StartAsync();
        host.Runner.Script = (_, _) => ScriptedRunner.Events(
            ScriptedRunner.Result(stdout: "one\ntwo", stderr: "\"quoted\"\r\n", id: "boxer-1"),
            Out("one\n"), Err("\"quoted\"\r\n"), Out("two"));

        Answer answer = await StreamAsync(host);

        Assert.Equal(200, answer.Status);
        Assert.Equal("text/event-stream", answer.Response.Content.Headers.ContentType!.MediaType);
        Assert.StartsWith(
            """
            event: started
            data: {"exec_id":"boxer-1"}

            event: stdout
            data: {"text":"one\n"}

            event: stderr
            data: {"text":"\"quoted\"\r\n"}

            event: stdout
            data: {"text":"two"}

            event: end
            data: {"status":200,"exec_id":"boxer-1","exit_code":0,
            """.ReplaceLineEndings("\n"),
            answer.Text,
            StringComparison.Ordinal);
        Assert.EndsWith("}\n\n", answer.Text, StringComparison.Ordinal);
        Assert.Equal("one\ntwo", (string)Parse(answer.Text)[^1].Data["stdout"]!);
    }

    [Fact]
    public async Task Characters_split_between_reads_are_joined()
    {
        const string Text = "é日🎲 end";
        await using HostFixture host = await StartAsync();
        byte[] bytes = Encoding.UTF8.GetBytes(Text);
        host.Runner.Script = (_, _) => ScriptedRunner.Events(
            ScriptedRunner.Result(stdout: Text),
            [.. bytes.SelectMany(value => new SandboxEvent[]
            {
                new SandboxDataReceived(SandboxStream.StandardOutput, new[] { value }),
                new SandboxDataReceived(SandboxStream.StandardError, new[] { value }),
            })]);

        List<(string Name, JsonNode Data)> events = Parse((await StreamAsync(host)).Text);

        foreach (string stream in new[] { "stdout", "stderr" })
        {
            string[] texts = [.. events.Where(e => e.Name == stream).Select(e => (string)e.Data["text"]!)];
            Assert.Equal(["é", "日", "🎲", " ", "e", "n", "d"], texts);
        }
    }

    [Fact]
    public async Task Incomplete_characters_are_replaced_at_the_end()
    {
        await using HostFixture host = await StartAsync();
        host.Runner.Script = (_, _) => ScriptedRunner.Events(
            ScriptedRunner.Result(stdoutBytes: [0x61, 0xf0, 0x9f]),
            new SandboxDataReceived(SandboxStream.StandardOutput, new byte[] { 0x61, 0xf0 }),
            new SandboxDataReceived(SandboxStream.StandardOutput, new byte[] { 0x9f }));

        List<(string Name, JsonNode Data)> events = Parse((await StreamAsync(host)).Text);

        Assert.Equal("a\uFFFD", string.Concat(events.Where(e => e.Name == "stdout").Select(e => (string)e.Data["text"]!)));
        Assert.Equal("end", events[^1].Name);
    }

    [Fact]
    public async Task Output_is_sent_before_the_run_ends()
    {
        await using HostFixture host = await StartAsync();
        TaskCompletionSource go = new();
        host.Runner.Script = (_, _) => Paused(go.Task);
        using HttpRequestMessage request = new(HttpMethod.Post, new Uri("/run/stream", UriKind.Relative)) { Content = new StringContent(Simple) };
        using HttpResponseMessage response = await host.Client.SendAsync(
            request, HttpCompletionOption.ResponseHeadersRead, TestContext.Current.CancellationToken);
        using StreamReader reader = new(await response.Content.ReadAsStreamAsync(TestContext.Current.CancellationToken));

        string seen = "";
        while (!seen.Contains("early", StringComparison.Ordinal))
        {
            seen += await reader.ReadLineAsync(TestContext.Current.CancellationToken) + "\n";
        }

        go.SetResult();
        Assert.Contains("event: end", await reader.ReadToEndAsync(TestContext.Current.CancellationToken), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_limit_is_reported_in_the_end_event()
    {
        await using HostFixture host = await StartAsync();
        host.Runner.Script = (_, _) => ScriptedRunner.Events(
            ScriptedRunner.Result(new Termination(TerminationKind.WallClockLimit) { Message = "too long" }, "tick", id: "boxer-1"),
            Out("tick"));

        Answer answer = await StreamAsync(host);

        Assert.Equal(200, answer.Status);
        JsonNode end = Parse(answer.Text)[^1].Data;
        Assert.Equal(408, (int)end["status"]!);
        Assert.Equal("too long", (string)end["error"]!);
        Assert.Equal("tick", (string)end["stdout"]!);
        Assert.Equal("boxer-1", (string)end["exec_id"]!);
    }

    [Fact]
    public async Task Errors_before_the_start_have_the_status_of_run()
    {
        await using HostFixture host = await StartAsync();

        Answer bad = await StreamAsync(host, "{}");
        host.Runner.Throws(new ImageNotFoundException("No such image."));
        Answer missing = await StreamAsync(host);

        Assert.Equal(400, bad.Status);
        Assert.Equal(404, missing.Status);
        Assert.StartsWith("The image was not found.", missing.Error, StringComparison.Ordinal);
        Assert.Equal("application/json", missing.Response.Content.Headers.ContentType!.MediaType);
    }

    [Fact]
    public async Task Pull_events_are_not_sent_so_that_a_failed_pull_has_its_status()
    {
        await using HostFixture host = await StartAsync();
        host.Runner.Script = (_, _) => Pulls(new ImageNotFoundException("No such image."));
        Assert.Equal(404, (await StreamAsync(host)).Status);

        host.Runner.Script = (_, _) => Pulls(null);
        Assert.Equal(["started", "end"], Parse((await StreamAsync(host)).Text).Select(sent => sent.Name));
    }

    [Fact]
    public async Task Failures_after_the_start_are_reported_in_the_end_event()
    {
        await using HostFixture host = await StartAsync();
        host.Runner.Script = (_, _) => Breaks();

        Answer answer = await StreamAsync(host);

        Assert.Equal(200, answer.Status);
        JsonNode end = Parse(answer.Text)[^1].Data;
        Assert.Equal(500, (int)end["status"]!);
        Assert.DoesNotContain("secret", answer.Text, StringComparison.Ordinal);
    }

    [Fact]
    [Slow]
    public async Task A_disconnect_ends_the_run_and_deletes_its_uploads()
    {
        await using HostFixture host = await StartAsync();
        await host.UploadAsync("a", "x");
        TaskCompletionSource started = new(), ended = new();
        host.Runner.Script = (_, token) => RunTests.WaitForEnd(started, ended, token);
        using (HttpClient client = host.NewClient())
        {
            using HttpRequestMessage request = new(HttpMethod.Post, new Uri("/run/stream", UriKind.Relative))
            {
                Content = new StringContent("""{"image": "i", "cmd": ["a"], "files": ["a"]}"""),
            };
            using HttpResponseMessage response = await client.SendAsync(
                request, HttpCompletionOption.ResponseHeadersRead, TestContext.Current.CancellationToken);
            await started.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        }

        await ended.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        await Until.IsSoAsync(async () => (await host.DownloadAsync("a")).Status == 404, seconds: 60);
    }

    private static SandboxDataReceived Out(string text) => new(SandboxStream.StandardOutput, Encoding.UTF8.GetBytes(text));

    private static SandboxDataReceived Err(string text) => new(SandboxStream.StandardError, Encoding.UTF8.GetBytes(text));

    private static async Task<Answer> StreamAsync(HostFixture host, string body = Simple)
    {
        Answer answer = await host.PostAsync("/run/stream", new StringContent(body));
        Assert.Empty(answer.Status == 200 ? host.Document.FindEventFaults(answer.Text) : []);
        return answer;
    }

    private static async IAsyncEnumerable<SandboxEvent> Paused(Task go)
    {
        yield return new SandboxStarted("boxer-1");
        yield return Out("early");
        await go;
        yield return new SandboxEnded(ScriptedRunner.Result(id: "boxer-1"));
    }

    private static async IAsyncEnumerable<SandboxEvent> Pulls(Exception? fault)
    {
        yield return new SandboxImagePulling("docker.io/library/a:1");
        await Task.Yield();
        yield return new SandboxImagePulling("docker.io/library/a:1", new Boxer.Images.PullProgress("sha256:0", 1, 2, IsStored: false));
        if (fault is not null)
        {
            throw fault;
        }

        yield return new SandboxStarted("boxer-1");
        yield return new SandboxEnded(ScriptedRunner.Result(id: "boxer-1"));
    }

    private static async IAsyncEnumerable<SandboxEvent> Breaks()
    {
        yield return new SandboxStarted("boxer-1");
        await Task.Yield();
        throw new SandboxRuntimeException("/secret");
    }

    private static List<(string Name, JsonNode Data)> Parse(string text) =>
        [.. text.Split("\n\n", StringSplitOptions.RemoveEmptyEntries).Select(block =>
        {
            string[] lines = block.Split('\n');
            Assert.Equal(2, lines.Length);
            return (lines[0]["event: ".Length..], JsonNode.Parse(lines[1]["data: ".Length..])!);
        })];
}

public sealed class HttpHostRunStreamTests() : RunStreamTests(ContractHost.HttpHost);

public sealed class MinimalApiRunStreamTests() : RunStreamTests(ContractHost.MinimalApi);
