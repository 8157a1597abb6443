using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;
using Boxer.Hosting;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>The documented bounds of sessions, reached in real sandboxes: one more is refused, and accepted after another ended.</summary>
[Collection(Sandboxes.Name)]
public sealed class SessionBoundTests(PythonImage image, SharedRunner shared)
{
    private const int PullMegabytes = 256;
    private const int RunMegabytes = 1_024;
    private const int SessionMegabytes = RunMegabytes / 4;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task OpenAsync_is_refused_beyond_half_of_the_memory_and_a_quarter_for_a_key_until_a_session_ends()
    {
        BoxerOptions options = shared.Options;
        options.MaxMemoryBytes = (PullMegabytes + RunMegabytes) * ByteSize.MiB;
        options.PullMemoryBytes = PullMegabytes * ByteSize.MiB;
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        await using IOwnedSandboxSession first = await OpenAsync("a");

        SandboxCapacityException ofKey = await Assert.ThrowsAsync<SandboxCapacityException>(() => OpenAsync("a"));
        Assert.Contains("open sessions of this key use", ofKey.Message, StringComparison.Ordinal);
        Assert.InRange(ofKey.RetryAfter, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(10));
        await using IOwnedSandboxSession second = await OpenAsync(null);
        SandboxCapacityException ofAll = await Assert.ThrowsAsync<SandboxCapacityException>(() => OpenAsync("b"));
        Assert.Contains("The open sessions use", ofAll.Message, StringComparison.Ordinal);

        // The other half is for runs.
        SandboxRequest run = SharedRunner.Command("echo", "run");
        run.Limits.MemoryBytes = 2 * SessionMegabytes * ByteSize.MiB;
        Assert.Equal("run\n", (await runner.RunAsync(run, Cancel)).StandardOutput);

        await first.CloseAsync(Cancel);
        await using IOwnedSandboxSession third = await WhenThereIsMemoryAsync(() => OpenAsync("a"));
        Assert.Equal("third\n", (await third.ExecAsync("echo", "third")).StandardOutput);
        await Assert.ThrowsAsync<SandboxCapacityException>(() => OpenAsync("b"));

        Task<IOwnedSandboxSession> OpenAsync(string? key) =>
            runner.OpenAsync(new(PythonImage.Name) { FairnessKey = key, Limits = new() { MemoryBytes = SessionMegabytes * ByteSize.MiB } }, Cancel);
    }

    [Fact]
    public async Task POST_sessions_beyond_the_memory_of_a_key_is_429_with_Retry_After_until_one_is_deleted()
    {
        image.Require();
        var memory = new JsonObject { ["max_memory_mb"] = PullMegabytes + RunMegabytes, ["pull_memory_mb"] = PullMegabytes, ["api_keys"] = new JsonArray("first", "second"), ["stop_grace_secs"] = 1 };
        await using HostProcess host = await HostProcess.StartAsync(image, memory);
        using HttpClient client = host.NewClient("first");
        using HttpClient other = host.NewClient("second");
        var settings = new JsonObject { ["limits"] = new JsonObject { ["memory_mb"] = SessionMegabytes }, ["image"] = PythonImage.Name };
        HttpSession first = await HttpSession.OpenAsync(client, settings);

        using (HttpResponseMessage refused = await client.PostAsJsonAsync("/sessions", settings, Cancel))
        {
            Assert.Equal(429, (int)refused.StatusCode);
            Assert.InRange(refused.Headers.RetryAfter!.Delta!.Value, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(10));
            Assert.Contains("open sessions of this key", await refused.Content.ReadAsStringAsync(Cancel), StringComparison.Ordinal);
        }

        await HttpSession.OpenAsync(other, settings);
        await first.MustAsync(HttpMethod.Delete, "");
        await Until.IsSoAsync(() => IsOpenedAsync().GetAwaiter().GetResult(), 60);

        async Task<bool> IsOpenedAsync()
        {
            using HttpResponseMessage answer = await client.PostAsJsonAsync("/sessions", settings, Cancel);
            Assert.Contains((int)answer.StatusCode, (int[])[201, 429]);
            return answer.IsSuccessStatusCode;
        }
    }

    [Fact]
    public async Task The_9th_command_the_33rd_process_the_17th_watch_and_the_65th_connection_are_refused()
    {
        const int Execs = 8;
        const int Processes = 32;
        const int Watches = 16;
        const int Connections = 64;
        await using IOwnedSandboxSession session = await shared.Runner.OpenAsync(new(PythonImage.Name), Cancel);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);

        Task<SandboxResult>[] execs = [.. Enumerable.Range(0, Execs).Select(_ => session.ExecAsync(new SandboxCommand("sh", "-c", "until test -e /tmp/go; do sleep 0.1; done"), stop.Token))];
        await Assert.ThrowsAsync<SandboxCapacityException>(() => session.ExecAsync("true"));
        await session.Files.WriteAsync("/tmp/go", "", cancellationToken: Cancel);
        Assert.All(await Task.WhenAll(execs), result => Assert.Equal(0, result.ExitCode));
        Assert.Equal(0, (await session.ExecAsync("true")).ExitCode);

        const string Server = "import socket\ns = socket.create_server(('127.0.0.1', 8000), backlog=100)\nprint('up', flush=True)\nheld = [s.accept() for _ in range(1000)]";
        ISandboxProcess server = await session.StartAsync("python3", "-c", Server);
        ISandboxProcess[] others = [.. await Task.WhenAll(Enumerable.Range(1, Processes - 1).Select(_ => session.StartAsync("sleep", "1000")))];
        await Assert.ThrowsAsync<SandboxCapacityException>(() => session.StartAsync("sleep", "1000"));
        await others[0].DisposeAsync();
        others[0] = await session.StartAsync("sleep", "1000");
        Assert.All(others, process => Assert.Null(process.End));

        await foreach (SandboxProcessEvent item in server.EventsAsync(cancellationToken: Cancel))
        {
            Assert.IsType<SandboxProcessOutput>(item);
            break;
        }

        SandboxConnection[] connections = [.. await Task.WhenAll(Enumerable.Range(0, Connections).Select(_ => session.ConnectAsync(8000, Cancel)))];
        await Assert.ThrowsAsync<SandboxCapacityException>(() => session.ConnectAsync(8000, Cancel));
        await connections[0].DisposeAsync();
        await (await session.ConnectAsync(8000, Cancel)).DisposeAsync();

        Task[] watches = [.. Enumerable.Range(0, Watches).Select(_ => WatchAsync(stop.Token))];
        await Assert.ThrowsAsync<SandboxCapacityException>(() => WatchAsync(Cancel));
        await stop.CancelAsync();
        await Task.WhenAll(watches.Select(watch => Assert.ThrowsAnyAsync<OperationCanceledException>(() => watch)));

        async Task WatchAsync(CancellationToken cancellationToken)
        {
            await foreach (SandboxFileChange change in session.Files.WatchAsync("/tmp", cancellationToken))
            {
                Assert.Equal(SandboxFileChangeKind.Started, change.Kind);
            }
        }
    }

    [Fact]
    public async Task The_last_MiB_of_the_output_of_a_process_is_kept_and_the_offset_shows_what_is_missing()
    {
        const int History = 1 << 20;
        const int Printed = 3_000_000;
        await using IOwnedSandboxSession session = await shared.Runner.OpenAsync(new(PythonImage.Name), Cancel);
        ISandboxProcess process = await session.StartAsync("sh", "-c", $"yes 0123456 | head -c {Printed}");
        await process.WaitAsync(Cancel);
        long first = -1;
        long offset = 0;
        var text = new StringBuilder();
        await foreach (SandboxProcessEvent item in process.EventsAsync(1, Cancel))
        {
            if (item is SandboxProcessOutput output)
            {
                Assert.True(first < 0 || output.Offset == offset, $"{output.Offset} after {offset}");
                first = first < 0 ? output.Offset : first;
                offset = output.EndOffset;
                text.Append(Encoding.ASCII.GetString(output.Data.Span));
            }
        }

        Assert.Equal((Printed - History, Printed, History), (first, offset, text.Length));
        Assert.Equal("0123456\n"[(int)(first % 8)], text[0]);
    }

    [Fact]
    public async Task Archives_beyond_MaxArchiveBytes_are_refused_in_both_directions()
    {
        const int Most = 1 << 20;
        BoxerOptions options = shared.Options;
        options.Sessions.MaxArchiveBytes = Most;
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        await using IOwnedSandboxSession session = await runner.OpenAsync(new(PythonImage.Name), Cancel);
        await session.Files.WriteAsync("/tmp/out/file", new byte[Most + 1], mode: null, Cancel);
        byte[] large = new Archive().File("file", new string('x', Most + 1)).ToBytes();
        byte[] fitting = new Archive().File("file", "fits").ToBytes();

        SandboxFileException tooLarge = await Assert.ThrowsAsync<SandboxFileException>(async () =>
        {
            await using Stream archive = await session.Files.ReadArchiveAsync("/tmp/out", Cancel);
            await archive.CopyToAsync(Stream.Null, Cancel);
        });
        await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => session.Files.WriteArchiveAsync("/tmp/in", new MemoryStream(large), Cancel));
        await session.Files.WriteArchiveAsync("/tmp/in", new MemoryStream(fitting), Cancel);

        Assert.Equal(SandboxFileError.TooLarge, tooLarge.Reason);
        Assert.Equal("fits", await session.Files.ReadAllTextAsync("/tmp/in/file", cancellationToken: Cancel));
    }

    // The memory of a session is free when its clean-up has ended, shortly after its end.
    private static async Task<T> WhenThereIsMemoryAsync<T>(Func<Task<T>> open)
    {
        for (int attempt = 0; ; attempt++)
        {
            try
            {
                return await open();
            }
            catch (SandboxCapacityException) when (attempt < 600)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(100), Cancel);
            }
        }
    }
}
