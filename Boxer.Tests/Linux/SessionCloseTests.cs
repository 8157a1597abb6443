using System.Net.WebSockets;
using System.Text.Json.Nodes;
using Boxer.Hosting;
using Boxer.Tests.HttpHost;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>
/// The close of a session ends everything in flight, with the reason. A session that stands still leaves nothing either, although Linux does not kill frozen
/// processes.
/// </summary>
[Collection(Sandboxes.Name)]
public sealed class SessionCloseTests(PythonImage image, SharedRunner shared)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("frozen")]
    [InlineData("paused")]
    [InlineData("paused with processes")]
    public async Task Closing_a_session_or_its_runner_leaves_nothing_of_a_session_that_is(string state)
    {
        string[] before = OwnTraces.Instances();
        string[] others = OwnTraces.Sandboxes();
        SandboxRunner runner = SandboxRunnerFactory.Create(shared.Options);
        await using IAsyncDisposable disposal = runner;
        IOwnedSandboxSession closed = await OpenAsync(runner, state);
        string sandbox = Assert.Single(Own(others));
        IOwnedSandboxSession left = await OpenAsync(runner, state);
        string[] instances = [.. OwnTraces.Instances().Except(before, StringComparer.Ordinal)];
        Assert.Equal(2, Own(others).Length);
        await Until.IsSoAsync(() => SandboxCgroups.IsFrozen(sandbox), 60);
        await Until.IsSoAsync(() => Own(others).All(SandboxCgroups.IsFrozen), 60);

        await closed.CloseAsync(Cancel);
        Assert.Equal(SandboxSessionEnd.Closed, closed.End);
        string directory = Path.GetDirectoryName(sandbox["--root=".Length..])!;
        await Until.IsSoAsync(() => !Own(others).Contains(sandbox) && !Directory.Exists(directory), 60);
        Assert.Empty(await OwnTraces.FindAsync([Path.GetFileName(directory)]));
        Assert.Null(left.End);

        await runner.DisposeAsync();
        Assert.Equal(SandboxSessionEnd.HostStopped, left.End);
        Assert.Empty(Own(others));
        Assert.Empty(await OwnTraces.FindAsync(instances));
    }

    [Fact]
    public async Task DELETE_and_a_stop_of_the_host_leave_nothing_of_frozen_and_paused_sessions()
    {
        await shared.PullAsync();
        Assert.SkipUnless(HostProgram.Exists("nft") && HostProgram.Exists("ip"), "Needs ip and nft in PATH.");
        string[] before = await HostState.ReadAsync();
        await using (HostProcess host = await HostProcess.StartAsync(image, new JsonObject { ["stop_grace_secs"] = 1 }))
        {
            HttpSession[] sessions = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => HttpSession.OpenAsync(host.Client, new JsonObject { ["network"] = "sandbox" })));
            await Task.WhenAll(sessions[..2].Select(session => session.MustAsync(HttpMethod.Post, "/pause")));
            await Until.IsSoAsync(() => HostState.FrozenNamespacesAsync().Result.Length == sessions.Length, seconds: 60);

            // One of each is closed, and one of each ends with the host.
            foreach (HttpSession session in (HttpSession[])[sessions[0], sessions[2]])
            {
                Assert.Equal("closed", (string?)(await session.MustAsync(HttpMethod.Delete, ""))!["ended"]);
                (int status, JsonNode? body) = await session.SendAsync(HttpMethod.Get, "");
                Assert.Equal((410, "closed"), (status, (string?)body!["ended"]));
            }

            await Until.IsSoAsync(() => HostState.CountSandboxesAsync().Result == 2 && HostState.Namespaces().Length == 2, seconds: 60);
            Assert.Equal(0, await host.StopAsync());
        }

        await HostState.AssertSameAsync(before);
    }

    [Fact]
    public async Task DELETE_ends_everything_in_flight_with_the_reason()
    {
        await shared.PullAsync();
        await using HostProcess host = await HostProcess.StartAsync(image, new JsonObject { ["stop_grace_secs"] = 1 });
        HttpSession session = await HttpSession.OpenAsync(host.Client, new JsonObject { ["workspace"] = new JsonObject() });
        await session.ServeAsync(8000);
        await session.ExecAsync("mkdir d; head -c 24000000 /dev/zero >d/large");
        using ClientWebSocket socket = await session.ConnectAsync(8000);
        Task<(int Status, JsonNode? Body)> exec = session.SendAsync(HttpMethod.Post, "/exec", Shell("touch up; sleep 1000"));
        using HttpResponseMessage stream = await session.OpenAsync(HttpMethod.Post, "/exec/stream", Shell("echo up; sleep 1000"));
        using HttpResponseMessage events = await session.OpenAsync(HttpMethod.Get, "/processes/1/events");
        using HttpResponseMessage download = await session.OpenAsync(HttpMethod.Get, "/files?path=d/large");
        using HttpResponseMessage archive = await session.OpenAsync(HttpMethod.Get, "/files/tar?path=d");
        using HttpResponseMessage watch = await session.OpenAsync(HttpMethod.Get, "/files/watch?path=d");
        using RawClient upload = await RawClient.ConnectAsync(new Uri(host.Address));
        await upload.SendAsync($"PUT /sessions/{session.Id}/files?path=part HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n");
        using StreamReader uploaded = new(upload.Tcp.GetStream());
        await session.ExecAsync("until test -e up && test -e part; do sleep 0.1; done");
        (int status, JsonNode? closed) = await session.SendAsync(HttpMethod.Delete, "");

        Assert.Equal((200, "closed"), (status, (string?)closed!["ended"]));
        Assert.Equal((410, "closed"), ((await exec).Status, (string?)(await exec).Body!["ended"]));
        Assert.Equal(("end", 410, "closed"), await LastOfAsync(stream) is var (end, result) ? (end, (int?)result["status"], (string?)result["ended"]) : default);
        Assert.Equal(("ended", "closed"), await LastOfAsync(events) is var (ended, process) ? (ended, (string?)process["session_ended"]) : default);
        Assert.Equal(("error", 410, "closed"), await LastOfAsync(watch) is var (error, fault) ? (error, (int?)fault["status"], (string?)fault["ended"]) : default);
        await Assert.ThrowsAnyAsync<IOException>(async () => await (await download.Content.ReadAsStreamAsync(Cancel)).CopyToAsync(Stream.Null, Cancel));
        await Assert.ThrowsAnyAsync<IOException>(async () => await (await archive.Content.ReadAsStreamAsync(Cancel)).CopyToAsync(Stream.Null, Cancel));
        string answer = "";
        var piece = new char[4_096];
        for (int read = 1; read > 0 && !answer.Contains("\"ended\":\"closed\"", StringComparison.Ordinal);)
        {
            read = await uploaded.ReadAsync(piece, Cancel);
            answer += new string(piece, 0, read);
        }

        Assert.StartsWith("HTTP/1.1 410 Gone", answer, StringComparison.Ordinal);
        Assert.Contains("\"ended\":\"closed\"", answer, StringComparison.Ordinal);
        while ((await socket.ReceiveAsync(new byte[100].AsMemory(), Cancel)).MessageType != WebSocketMessageType.Close)
        {
        }

        Assert.Equal(((WebSocketCloseStatus)4_410, "closed"), ((WebSocketCloseStatus)socket.CloseStatus!, socket.CloseStatusDescription));
        (int after, JsonNode? gone) = await session.SendAsync(HttpMethod.Get, "");
        Assert.Equal((410, "closed"), (after, (string?)gone!["ended"]));
        upload.Dispose();
        Assert.Equal(0, await host.StopAsync());
        Assert.DoesNotContain("fail:", await host.Log, StringComparison.Ordinal);
    }

    private static JsonObject Shell(string script) => new() { ["cmd"] = new JsonArray("sh", "-c", script) };

    private static async Task<(string Name, JsonNode Data)> LastOfAsync(HttpResponseMessage answer) => (await HttpSession.ReadEventsAsync(answer))[^1];

    private static string[] Own(string[] others) => [.. OwnTraces.Sandboxes().Except(others, StringComparer.Ordinal)];

    private static async Task<IOwnedSandboxSession> OpenAsync(SandboxRunner runner, string state)
    {
        IOwnedSandboxSession session = await runner.OpenAsync(new(PythonImage.Name), Cancel);
        await session.ExecAsync("sh", "-c", "while :; do :; done & true");
        if (state == "paused with processes")
        {
            await session.StartAsync("sh", "-c", "while :; do echo more; done");
            await session.StartAsync(new SandboxCommand("sh") { Terminal = new(80, 24) }, Cancel);
        }

        if (state != "frozen")
        {
            await session.PauseAsync(Cancel);
        }

        return session;
    }
}
