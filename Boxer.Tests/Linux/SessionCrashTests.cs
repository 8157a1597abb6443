using System.Net.WebSockets;
using System.Text.Json.Nodes;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>
/// A host that is killed with ten sessions leaves nothing after the next start, whatever the sessions do at that moment. The next start knows how
/// they ended.
/// </summary>
[LongTests]
[Collection(Sandboxes.Name)]
public sealed class SessionCrashTests(PythonImage image, SharedRunner shared) : IAsyncDisposable
{
    private const int Count = 10;
    private const int FileBytes = 8 << 20;
    private readonly List<IDisposable> _held = [];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public ValueTask DisposeAsync()
    {
        _held.ForEach(item => item.Dispose());
        return ValueTask.CompletedTask;
    }

    [Theory]
    [InlineData("running an exec")]
    [InlineData("with a started process")]
    [InlineData("with a terminal")]
    [InlineData("with a connection")]
    [InlineData("idle")]
    [InlineData("frozen")]
    [InlineData("paused")]
    [InlineData("with an open file stream")]
    public async Task After_kill_9_the_next_start_leaves_nothing_of_ten_sessions(string state)
    {
        await shared.PullAsync();
        Assert.SkipUnless(HostProgram.Exists("nft") && HostProgram.Exists("ip"), "Needs ip and nft in PATH.");
        string[] before = await HostState.ReadAsync();
        string[] unfinished = Unfinished();
        await using HostProcess first = await StartAsync();
        HttpSession[] sessions = await Task.WhenAll(Enumerable.Range(0, Count).Select(_ => HttpSession.OpenAsync(first.Client, new JsonObject { ["network"] = "sandbox" })));
        await Task.WhenAll(sessions.Select(session => BringAsync(session, state)));
        if (state == "frozen")
        {
            await Until.IsSoAsync(() => HostState.FrozenNamespacesAsync().Result.Length == Count, seconds: 60);
        }

        first.Process.Kill();
        await first.Process.WaitForExitAsync(Cancel);
        await using (HostProcess next = await StartAsync())
        {
            foreach (HttpSession session in sessions)
            {
                using HttpResponseMessage answer = await next.Client.GetAsync(new Uri($"/sessions/{session.Id}", UriKind.Relative), Cancel);
                Assert.Equal((410, "host_stopped"), ((int)answer.StatusCode, (string?)JsonNode.Parse(await answer.Content.ReadAsStringAsync(Cancel))!["ended"]));
                using HttpResponseMessage call = await next.Client.PostAsync(new Uri($"/sessions/{session.Id}/pause", UriKind.Relative), content: null, Cancel);
                Assert.Equal((410, "host_stopped"), ((int)call.StatusCode, (string?)JsonNode.Parse(await call.Content.ReadAsStringAsync(Cancel))!["ended"]));
            }

            Assert.Equal("[]", await next.Client.GetStringAsync(new Uri("/sessions", UriKind.Relative), Cancel));
            await next.StopAsync();
        }

        await HostState.AssertSameAsync(before, state);
        Assert.Equal(unfinished, Unfinished());
    }

    [Fact]
    public async Task After_kill_9_the_next_start_leaves_nothing_of_ten_sessions_that_are_opening()
    {
        await shared.PullAsync();
        Assert.SkipUnless(HostProgram.Exists("nft") && HostProgram.Exists("ip"), "Needs ip and nft in PATH.");
        string[] before = await HostState.ReadAsync();
        string[] unfinished = Unfinished();
        await using HostProcess first = await StartAsync();
        Task[] opening = [.. Enumerable.Range(0, Count).Select(_ => HttpSession.OpenAsync(first.Client, new JsonObject { ["network"] = "sandbox" }))];
        await Until.IsSoAsync(() => HostState.CountSandboxesAsync().Result >= 2, seconds: 60);
        first.Process.Kill();
        await first.Process.WaitForExitAsync(Cancel);
        await Task.WhenAll(opening).ContinueWith(_ => { }, Cancel, TaskContinuationOptions.None, TaskScheduler.Default);

        await using (HostProcess next = await StartAsync())
        {
            await next.StopAsync();
        }

        await HostState.AssertSameAsync(before);
        Assert.Equal(unfinished, Unfinished());
    }

    // The shared runner has a directory and a lock there as long as it lives.
    private string[] Unfinished() => [.. Directory.EnumerateFileSystemEntries(Path.Join(image.Home, "tmp")).Order(StringComparer.Ordinal)];

    private Task<HostProcess> StartAsync() => HostProcess.StartAsync(image);

    private async Task BringAsync(HttpSession session, string state)
    {
        switch (state)
        {
            case "running an exec":
                _held.Add(await session.OpenAsync(HttpMethod.Post, "/exec/stream", new JsonObject { ["cmd"] = new JsonArray("sh", "-c", "echo up; sleep 1000") }));
                break;
            case "with a started process":
                await session.StartAsync([], "sh", "-c", "while :; do echo more; sleep 0.1; done");
                break;
            case "with a terminal":
                int pid = await session.StartAsync(new JsonObject { ["terminal"] = new JsonObject { ["cols"] = 80, ["rows"] = 24 } }, "sh");
                _held.Add(await session.OpenAsync(HttpMethod.Get, $"/processes/{pid}/events"));
                break;
            case "with a connection":
                await session.ServeAsync(8000);
                ClientWebSocket socket = await session.ConnectAsync(8000);
                _held.Add(socket);
                await socket.SendAsync("GET /"u8.ToArray(), WebSocketMessageType.Binary, endOfMessage: true, Cancel);
                break;
            case "paused":
                await session.MustAsync(HttpMethod.Post, "/pause");
                break;
            case "with an open file stream":
                await session.ExecAsync($"head -c {FileBytes} /dev/zero > /tmp/file");
                _held.Add(await session.OpenAsync(HttpMethod.Get, "/files?path=/tmp/file"));
                break;
            default:
                Assert.Equal("done\n", (string?)(await session.ExecAsync("echo done"))["stdout"]);
                break;
        }
    }
}
