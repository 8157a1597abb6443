using System.Text.Json.Nodes;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>The next HTTP host says how the sessions of the one before ended, to their own clients.</summary>
[Collection(Sandboxes.Name)]
public sealed class SessionRestartTests(PythonImage image, SharedRunner shared)
{
    private static readonly JsonObject Settings = new() { ["api_keys"] = new JsonArray("first", "second"), ["stop_grace_secs"] = 1 };

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_session_is_410_for_its_own_key_and_404_for_others_after_a_restart(bool isStopped)
    {
        await shared.PullAsync();
        string open;
        string closed;
        await using (HostProcess host = await HostProcess.StartAsync(image, Settings))
        {
            using HttpClient client = host.NewClient("first");
            HttpSession first = await HttpSession.OpenAsync(client);
            HttpSession second = await HttpSession.OpenAsync(client);
            (open, closed) = (first.Id, second.Id);
            await second.MustAsync(HttpMethod.Delete, "");
            int pid = await first.StartAsync([], "sh", "-c", "echo up; sleep 1000");
            using HttpResponseMessage process = await first.OpenAsync(HttpMethod.Get, $"/processes/{pid}/events");
            using HttpResponseMessage exec = await first.OpenAsync(HttpMethod.Post, "/exec/stream", new JsonObject { ["cmd"] = new JsonArray("sh", "-c", "echo up; sleep 1000") });
            if (isStopped)
            {
                Assert.Equal(0, await host.StopAsync());

                // Streams say so before they end.
                Assert.Equal(("error", 410), await HttpSession.ReadEventsAsync(process) is [.., var last] ? (last.Name, (int?)last.Data["status"]) : default);
                Assert.Equal(("end", 503), await HttpSession.ReadEventsAsync(exec) is [.., var end] ? (end.Name, (int?)end.Data["status"]) : default);
            }
            else
            {
                host.Process.Kill();
                await host.Process.WaitForExitAsync(Cancel);
            }
        }

        await using HostProcess next = await HostProcess.StartAsync(image, Settings);
        using HttpClient own = next.NewClient("first");
        using HttpClient other = next.NewClient("second");
        Assert.Equal("[]", await own.GetStringAsync(new Uri("/sessions", UriKind.Relative), Cancel));
        foreach ((string id, string how) in ((string, string)[])[(open, "host_stopped"), (closed, "closed")])
        {
            foreach ((HttpMethod method, string path) in ((HttpMethod, string)[])[(HttpMethod.Get, ""), (HttpMethod.Post, "/exec"), (HttpMethod.Get, "/files?path=a"), (HttpMethod.Delete, "")])
            {
                Assert.Equal((410, how), await SendAsync(own, method, id + path));
                Assert.Equal((404, null), await SendAsync(other, method, id + path));
            }
        }
    }

    private static async Task<(int Status, string? End)> SendAsync(HttpClient client, HttpMethod method, string path)
    {
        using var request = new HttpRequestMessage(method, new Uri("/sessions/" + path, UriKind.Relative));
        using HttpResponseMessage answer = await client.SendAsync(request, Cancel);
        return ((int)answer.StatusCode, (string?)JsonNode.Parse(await answer.Content.ReadAsStringAsync(Cancel))!["ended"]);
    }
}
