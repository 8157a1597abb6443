using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using Boxer.Tests.HttpHost;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Overload;

/// <summary>Overload of the HTTP host and of this machine: each request has a response, and afterwards the host is as before.</summary>
[Collection(Sandboxes.Name)]
public sealed class OverloadTests(PythonImage image)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Each_of_500_callers_gets_its_own_right_response_or_429_and_the_host_stays_small()
    {
        const int Callers = 500;
        const int Queue = 40;
        const int Running = 4;
        const int MostMegabytes = 400;
        image.Require();
        string[] before = await HostState.ReadAsync();
        await using (HostProcess host = await HostProcess.StartAsync(image, new JsonObject
        {
            ["max_concurrent_runs"] = Running,
            ["max_queued_runs"] = Queue,
            ["queue_timeout_secs"] = 300,
            ["pool"] = new JsonObject { ["enabled"] = true, ["max_sandboxes"] = 2 },
        }))
        {
            await AssertRunsAsync(host.Client);
            int descriptors = Descriptors(host);

            (int Status, JsonNode Body, TimeSpan? RetryAfter)[] answers;
            using (HttpClient client = host.NewClient())
            {
                answers = await Task.WhenAll(Enumerable.Range(0, Callers).Select(number => RunAsync(client, "echo", $"{number}")));
            }

            Assert.All(answers, answer => Assert.True(answer.Status is 200 or 429, $"{answer.Status}"));
            Assert.All(answers, (answer, number) => Assert.True(answer.Status != 200 || (string?)answer.Body["stdout"] == $"{number}\n", $"{number}: {answer.Body}"));
            Assert.All(answers.Where(answer => answer.Status == 429), answer => Assert.True(answer.RetryAfter > TimeSpan.Zero, "429 without Retry-After"));

            // Runs within the limits of running and waiting are never rejected.
            Assert.InRange(answers.Count(answer => answer.Status == 200), Running + Queue, Callers);
            Assert.Contains(answers, answer => answer.Status == 429);
            Assert.InRange(host.PeakMegabytes, 1, MostMegabytes);
            await AssertRunsAsync(host.Client);
            await WaitAsync(() => Descriptors(host) < descriptors + 80);
        }

        await HostState.AssertSameAsync(before);
    }

    [Fact]
    public async Task Floods_deep_or_large_bodies_and_slow_readers_leave_the_host_small()
    {
        // The budget of bodies and responses (SECURITY.md) plus .NET and its garbage. A process that needs more memory ends here.
        const int MostMegabytes = 1_536;
        const int Each = 12;
        image.Require();
        Assert.SkipUnless(Directory.Exists("/sys/fs/cgroup/memory"), "Needs the memory controller of cgroup v1.");
        using var cgroup = new MemoryCgroup(MostMegabytes);
        string[] before = await HostState.ReadAsync();
        await using (HostProcess host = await HostProcess.StartAsync(image, new JsonObject { ["cgroup_parent"] = cgroup.Name + "-runs" }, ["sh", "-c", $"echo $$ >{cgroup.Path}/cgroup.procs; exec \"$0\" \"$@\""]))
        {
            await AssertRunsAsync(host.Client);
            var statuses = new ConcurrentBag<(string What, int Status)>();
            byte[] deep = Encoding.UTF8.GetBytes("{\"image\":" + new string('[', 4 << 20));
            byte[] large = Encoding.UTF8.GetBytes($$"""{"image": "{{PythonImage.Name}}", "cmd": ["true", "{{new string('x', 12 << 20)}}"]}""");
            using var flood = JsonContent.Create(new JsonObject { ["image"] = PythonImage.Name, ["cmd"] = new JsonArray("yes", new string('y', 1_000)) });
            byte[] flooding = await flood.ReadAsByteArrayAsync(Cancel);
            List<Task> all = [];
            List<RawClient> readers = [];
            for (int i = 0; i < Each; i++)
            {
                all.Add(PostAsync("deep", deep));
                all.Add(PostAsync("large", large));
                all.Add(PostAsync("flood", flooding));
                RawClient reader = await RawClient.ConnectAsync(new Uri(host.Address));
                readers.Add(reader);
                all.Add(reader.SendAsync([.. Encoding.ASCII.GetBytes($"POST /run/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {flooding.Length}\r\n\r\n"), .. flooding]));
            }

            await Task.WhenAll(all);
            readers.ForEach(reader => reader.Dispose());

            Assert.All(statuses, one => Assert.True(one.Status == 429 || one.Status == (one.What == "flood" ? 507 : 400) || (one is { What: "large", Status: 413 }), $"{one.What} was answered with {one.Status}"));
            Assert.Contains(statuses, one => one is { What: "flood", Status: 507 });
            Assert.Contains(statuses, one => one is { What: "deep", Status: 400 });
            await AssertRunsAsync(host.Client);

            async Task PostAsync(string what, byte[] body)
            {
                using var content = new ByteArrayContent(body);
                content.Headers.ContentType = new("application/json");
                using HttpResponseMessage response = await host.Client.PostAsync(new Uri("/run", UriKind.Relative), content, Cancel);
                statuses.Add((what, (int)response.StatusCode));
            }
        }

        await HostState.AssertSameAsync(before);
    }

    [Fact]
    public async Task Running_out_of_descriptors_costs_one_run_unless_dotnet_cannot_start_a_thread()
    {
        const int Most = 80;
        const int MostEnds = 5;
        image.Require();
        string[] before = await HostState.ReadAsync();
        bool hasFailed = false;
        bool hasRun = false;
        int left = 1;
        int ends = 0;
        while (!hasRun)
        {
            await using HostProcess host = await HostProcess.StartAsync(image);
            try
            {
                await AssertRunsAsync(host.Client);
                await Task.Delay(TimeSpan.FromSeconds(1), Cancel);
                int rested = OwnDescriptors(host) + 2;
                string unlimited = (await HostProgram.RunAsync("prlimit", $"--pid={host.Process.Id}", "--nofile", "--noheadings", "--output=SOFT")).Trim();
                while (!hasRun)
                {
                    Assert.InRange(left, 1, Most);

                    // The previous run is cleaned up after its response.
                    await WaitAsync(() => OwnDescriptors(host) <= rested);
                    await LimitAsync(host, (Descriptors(host) + left).ToString(CultureInfo.InvariantCulture));
                    (int status, JsonNode body, _) = await RunAsync(host.Client, "echo", "few");
                    await LimitAsync(host, unlimited);
                    Assert.True(status == 200 ? (string?)body["stdout"] == "few\n" : status is 500 or 503 && !string.IsNullOrEmpty((string?)body["error"]), $"{left} left: {status} {body}");
                    await AssertRunsAsync(host.Client);
                    hasFailed |= status != 200;
                    hasRun = status == 200;
                    left += 3;
                    ends = 0;
                }
            }
            catch (Exception exception) when (exception is HttpRequestException or IOException)
            {
                // .NET itself ended the host, which cannot be prevented. The next start removes the leftovers.
                if (++ends > MostEnds || !await host.IsOutOfThreadsAsync())
                {
                    throw;
                }
            }
        }

        Assert.True(hasFailed);
        await HostState.AssertSameAsync(before);

        static async Task LimitAsync(HostProcess host, string most)
        {
            using Process prlimit = HostProgram.Start("prlimit", $"--pid={host.Process.Id}", $"--nofile={most}:");
            string fault = await prlimit.StandardError.ReadToEndAsync(Cancel);
            await prlimit.WaitForExitAsync(Cancel);
            if (prlimit.ExitCode != 0)
            {
                throw new IOException("The limit of the host cannot be set: " + fault);
            }
        }
    }

    [Fact]
    public async Task Unread_downloads_leave_descriptors_for_runs()
    {
        const int Limit = 1_024;
        const int Backlog = 300;
        const int Bytes = 32 << 20;
        image.Require();
        await using HostProcess host = await HostProcess.StartAsync(image, new JsonObject { ["upload_limit_bytes"] = Bytes, ["max_concurrent_runs"] = 4, ["sessions"] = new JsonObject { ["max_memory_mb"] = 256 } }, ["prlimit", $"--nofile={Limit}:{Limit}"]);
        using HttpClient client = host.NewClient();
        using var form = new MultipartFormDataContent
        {
            { new ByteArrayContent(new byte[Bytes - 1_000]), "file", "f" },
            { new StringContent("large"), "path" },
        };
        Assert.Equal(HttpStatusCode.OK, (await client.PostAsync(new Uri("/files", UriKind.Relative), form, Cancel)).StatusCode);
        List<RawClient> idle = [];
        try
        {
            await DownloadAsync(Limit - Backlog);

            // No connection waits in the backlog when this one is rejected.
            using (RawClient? last = await TryDownloadAsync())
            {
                Assert.Empty(last is null ? "" : await last.ReadToEndAsync());
            }

            // All connect at once: they wait in the backlog when the host goes on.
            await HostProgram.RunAsync("kill", "-STOP", $"{host.Process.Id}");
            try
            {
                await DownloadAsync(Backlog);
            }
            finally
            {
                await HostProgram.RunAsync("kill", "-CONT", $"{host.Process.Id}");
            }

            // On an earlier connection: further connections are rejected, and the descriptors that a run needs are left.
            await AssertRunsAsync(client);
        }
        finally
        {
            idle.ForEach(one => one.Dispose());
        }

        await WaitAsync(() => Descriptors(host) < Limit - 400);
        await AssertRunsAsync(host.Client);

        async Task DownloadAsync(int clients)
        {
            for (int i = 0; i < clients; i++)
            {
                if (await TryDownloadAsync() is { } one)
                {
                    idle.Add(one);
                }
            }
        }

        async Task<RawClient?> TryDownloadAsync()
        {
            try
            {
                RawClient one = await RawClient.ConnectAsync(new Uri(host.Address));
                await one.SendAsync("GET /files?path=large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
                return one;
            }
            catch (Exception exception) when (exception is IOException or SocketException)
            {
                // The host has rejected this connection already.
                return null;
            }
        }
    }

    [Fact]
    public async Task A_host_with_too_few_descriptors_does_not_start()
    {
        image.Require();

        InvalidOperationException fault = await Assert.ThrowsAsync<InvalidOperationException>(() => HostProcess.StartAsync(image, launcher: ["prlimit", "--nofile=512:512"]));

        Assert.Contains("nothing was started: this process can have 512 descriptors open", fault.Message, StringComparison.Ordinal);
    }

    private static async Task<(int Status, JsonNode Body, TimeSpan? RetryAfter)> RunAsync(HttpClient client, params string[] command)
    {
        var body = new JsonObject { ["image"] = PythonImage.Name, ["cmd"] = new JsonArray([.. command]) };
        using HttpResponseMessage response = await client.PostAsJsonAsync("/run", body, Cancel);
        return ((int)response.StatusCode, (await response.Content.ReadFromJsonAsync<JsonNode>(Cancel))!, response.Headers.RetryAfter?.Delta);
    }

    private static async Task AssertRunsAsync(HttpClient client)
    {
        (int status, JsonNode body, _) = await RunAsync(client, "echo", "well");
        Assert.True(status == 200 && (string?)body["stdout"] == "well\n", $"{status} {body}");
    }

    private static int Descriptors(HostProcess host) => Directory.GetFileSystemEntries($"/proc/{host.Process.Id}/fd").Length;

    // Without assemblies, which .NET opens at their first use and keeps open.
    private static int OwnDescriptors(HostProcess host) =>
        Directory.GetFileSystemEntries($"/proc/{host.Process.Id}/fd").Count(path => new FileInfo(path).LinkTarget is { } target && !target.EndsWith(".dll", StringComparison.Ordinal));

    private static Task WaitAsync(Func<bool> isSo) => Until.IsSoAsync(isSo, seconds: 30);

    /// <summary>A cgroup (v1) with a memory limit for a process. Sandboxes have cgroups elsewhere.</summary>
    private sealed class MemoryCgroup : IDisposable
    {
        public MemoryCgroup(int megabytes)
        {
            Directory.CreateDirectory(Path);
            File.WriteAllText(System.IO.Path.Join(Path, "memory.limit_in_bytes"), $"{megabytes}M");
        }

        public string Name { get; } = $"boxertest-{Guid.NewGuid():N}";

        public string Path => "/sys/fs/cgroup/memory/" + Name;

        public void Dispose() => Directory.Delete(Path);
    }
}
