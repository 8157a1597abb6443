using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;
using Boxer.Tests.HttpHost;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Overload;

/// <summary>Overload by clients of sessions: each request has a response, one-shot runs go on, the host stays small, and nothing is left.</summary>
[Collection(Sandboxes.Name)]
public sealed class SessionOverloadTests(PythonImage image)
{
    private const int MostMegabytes = 400;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_flood_of_commands_is_answered_rightly_or_429_and_runs_go_on()
    {
        const int Callers = 150;
        const int MaxParallelExecs = 8;
        image.Require();
        string[] before = await HostState.ReadAsync();
        await using (HostProcess host = await HostProcess.StartAsync(image))
        {
            HttpSession[] sessions = [await HttpSession.OpenAsync(host.Client), await HttpSession.OpenAsync(host.Client)];
            using HttpClient client = host.NewClient();
            Task<(int Status, string? Stdout)>[] calls = [.. Enumerable.Range(0, Callers).Select(number => ExecAsync(client, sessions[number % 2], number))];
            for (int i = 0; i < 5; i++)
            {
                await AssertRunsAsync(host.Client);
            }

            (int Status, string? Stdout)[] answers = await Task.WhenAll(calls);
            Assert.All(answers, (answer, number) => Assert.True(answer.Status == 429 || answer == (200, $"{number}\n"), $"{number}: {answer}"));
            Assert.InRange(answers.Count(answer => answer.Status == 200), 2 * MaxParallelExecs, Callers);
            Assert.Contains(answers, answer => answer.Status == 429);
            await AssertRunsAsync(host.Client);
            foreach (HttpSession session in sessions)
            {
                Assert.Equal("well\n", (string?)(await session.ExecAsync("echo well"))["stdout"]);
            }

            Assert.InRange(host.PeakMegabytes, 1, MostMegabytes);
        }

        await HostState.AssertSameAsync(before);
    }

    [Fact]
    public async Task Slow_readers_and_large_bodies_leave_the_host_small_and_runs_go_on()
    {
        const int Each = 12;
        const int UploadBytes = 8 << 20;
        const int FileBytes = 24 << 20;
        const int ArchiveBytes = 32 << 20;
        image.Require();
        string[] before = await HostState.ReadAsync();
        List<RawClient> readers = [];
        await using (HostProcess host = await HostProcess.StartAsync(image, new JsonObject { ["upload_limit_bytes"] = UploadBytes, ["sessions"] = new JsonObject { ["max_archive_bytes"] = ArchiveBytes }, ["stop_grace_secs"] = 1 }))
        {
            // Each open file costs the sandbox a process.
            HttpSession session = await HttpSession.OpenAsync(host.Client, new JsonObject { ["limits"] = new JsonObject { ["memory_mb"] = 512 } });

            // A body is sent when the host wants it.
            using HttpClient client = new(new SocketsHttpHandler { Expect100ContinueTimeout = TimeSpan.FromMinutes(2) }) { BaseAddress = new Uri(host.Address) };
            client.DefaultRequestHeaders.ExpectContinue = true;
            int pid = await session.StartAsync([], "yes", new string('y', 1_000));
            await session.ExecAsync($"mkdir /tmp/d; head -c {FileBytes} /dev/zero >/tmp/d/file");
            for (int i = 0; i < Each; i++)
            {
                foreach (string path in (string[])[$"/processes/{pid}/events", "/files?path=/tmp/d/file", "/files/tar?path=/tmp/d"])
                {
                    RawClient reader = await RawClient.ConnectAsync(new Uri(host.Address));
                    readers.Add(reader);
                    await reader.SendAsync($"GET /sessions/{session.Id}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
                }
            }

            // All answers have begun, and nobody reads on.
            Assert.All(await Task.WhenAll(readers.Select(reader => reader.ReadStatusAsync())), status => Assert.Equal("HTTP/1.1 200 OK", status));
            int[] statuses = await Task.WhenAll(Enumerable.Range(0, Each).SelectMany(_ => (Task<int>[])
            [
                PutAsync("/files?path=/tmp/large", UploadBytes + 1, isChunked: false),
                PutAsync("/files?path=/tmp/large", UploadBytes + 1, isChunked: true),
                PutAsync("/files/tar?path=/tmp/unpacked", ArchiveBytes + 1, isChunked: false),
                ExecLargeAsync(),
            ]));
            await AssertRunsAsync(host.Client);

            Assert.All(statuses, status => Assert.Contains(status, (int[])[413, 429]));
            Assert.Contains(413, statuses);
            Assert.Equal("well\n", (string?)(await session.ExecAsync("echo well"))["stdout"]);
            Assert.Null((await session.MustAsync(HttpMethod.Get, $"/processes/{pid}"))!["ended"]);
            readers.ForEach(reader => reader.Dispose());
            await AssertRunsAsync(host.Client);
            Assert.Equal("closed", (string?)(await session.MustAsync(HttpMethod.Delete, ""))!["ended"]);
            Assert.InRange(host.PeakMegabytes, 1, MostMegabytes);

            async Task<int> PutAsync(string path, int bytes, bool isChunked)
            {
                using var content = new StreamContent(new MemoryStream(new byte[bytes]));
                using var request = new HttpRequestMessage(HttpMethod.Put, new Uri($"/sessions/{session.Id}{path}", UriKind.Relative)) { Content = content };
                request.Headers.TransferEncodingChunked = isChunked ? true : null;
                using HttpResponseMessage answer = await client.SendAsync(request, Cancel);
                return (int)answer.StatusCode;
            }

            async Task<int> ExecLargeAsync()
            {
                var body = new JsonObject { ["cmd"] = new JsonArray("true"), ["stdin"] = new string('x', 17 << 20) };
                using var content = new StringContent(body.ToJsonString(), Encoding.UTF8, "application/json");
                using HttpResponseMessage answer = await client.PostAsync(new Uri($"/sessions/{session.Id}/exec", UriKind.Relative), content, Cancel);
                return (int)answer.StatusCode;
            }
        }

        await HostState.AssertSameAsync(before);
    }

    private static async Task<(int Status, string? Stdout)> ExecAsync(HttpClient client, HttpSession session, int number)
    {
        var body = new JsonObject { ["cmd"] = new JsonArray("sh", "-c", $"sleep 0.2; echo {number}") };
        using HttpResponseMessage answer = await client.PostAsJsonAsync($"/sessions/{session.Id}/exec", body, Cancel);
        Assert.True((int)answer.StatusCode != 429 || answer.Headers.RetryAfter?.Delta > TimeSpan.Zero, "429 without Retry-After");
        return ((int)answer.StatusCode, (string?)(await answer.Content.ReadFromJsonAsync<JsonNode>(Cancel))!["stdout"]);
    }

    private static async Task AssertRunsAsync(HttpClient client)
    {
        var body = new JsonObject { ["image"] = PythonImage.Name, ["cmd"] = new JsonArray("echo", "well") };
        using HttpResponseMessage answer = await client.PostAsJsonAsync("/run", body, Cancel);
        string text = await answer.Content.ReadAsStringAsync(Cancel);
        Assert.True(answer.IsSuccessStatusCode && (string?)JsonNode.Parse(text)!["stdout"] == "well\n", $"{answer.StatusCode} {text}");
    }
}
