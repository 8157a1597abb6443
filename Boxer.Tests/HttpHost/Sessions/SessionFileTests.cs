using System.Text.Json.Nodes;
using Boxer.Tests.Support;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.HttpHost.Sessions;

/// <summary>Tests of the files of sessions over HTTP.</summary>
public abstract class SessionFileTests(ContractHost contract) : ContractTests(contract)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("src/main.py")]
    [InlineData("/tmp/a b&c=d?#%41")]
    [InlineData("\u00e9\u20ac\n\"")]
    public async Task Put_and_get_keep_every_byte_at_any_path(string file)
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        byte[] bytes = [.. Enumerable.Range(0, 300_000).Select(i => (byte)(i * 7))];
        string query = $"{path}/files?path={Uri.EscapeDataString(file)}";

        Answer put = await host.SendAsync("PUT", query, new ByteArrayContent(bytes));
        Answer got = await host.GetAsync(query);

        Assert.Equal((200, file), (put.Status, (string)put.Json["path"]!));
        Assert.Equal(bytes, session.Stored.Contents[file]);
        Assert.Equal(bytes, got.Bytes);
        Assert.Equal("application/octet-stream", got.Response.Content.Headers.ContentType!.MediaType);
        Assert.Equal("attachment", got.Response.Content.Headers.ContentDisposition!.DispositionType);
        Assert.Equal(("no-store", "nosniff"), (got.Response.Headers.CacheControl!.ToString(), got.Response.Headers.GetValues("X-Content-Type-Options").Single()));
    }

    [Fact]
    public async Task An_empty_file_is_an_empty_response()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);

        Assert.Equal(200, (await host.SendAsync("PUT", path + "/files?path=a")).Status);
        Answer got = await host.GetAsync(path + "/files?path=a");

        Assert.Equal((200, 0), (got.Status, got.Bytes.Length));
        Assert.Empty(session.Stored.Contents["a"]);
    }

    [Theory]
    [InlineData("0644", 0b110_100_100)]
    [InlineData("755", 0b111_101_101)]
    [InlineData("0", 0)]
    public async Task Put_sets_the_mode(string mode, int bits)
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);

        Assert.Equal(200, (await host.SendAsync("PUT", $"{path}/files?path=a&mode={mode}", new StringContent("x"))).Status);
        Assert.Equal((UnixFileMode)bits, session.Stored.Modes["a"]);
    }

    [Theory]
    [InlineData("PUT", "/files?mode=999", "path: is missing; name a path such as src/main.py or /tmp/data. mode: must be permission bits in octal, such as 0644 or 755, not \"999\".")]
    [InlineData("PUT", "/files?path=a&mode=4755", "mode: must be permission bits in octal, such as 0644 or 755, not \"4755\".")]
    [InlineData("PUT", "/files?path=a&mode=", "mode: must be permission bits in octal, such as 0644 or 755, not \"\".")]
    [InlineData("GET", "/files", "path: is missing; name a path such as src/main.py or /tmp/data.")]
    [InlineData("GET", "/files?path=", "path: is empty; name a path such as src/main.py or /tmp/data.")]
    [InlineData("GET", "/files?path=a&path=b", "path: appears twice; send it once.")]
    [InlineData("DELETE", "/files", "path: is missing; name a path such as src/main.py or /tmp/data.")]
    [InlineData("GET", "/files/stat", "path: is missing; name a path such as src/main.py or /tmp/data.")]
    [InlineData("GET", "/files/list?depth=65", "depth: must be a whole number from 1 to 64, not \"65\".")]
    [InlineData("GET", "/files/tar?path=a%00", "path: has a NUL character; remove it.")]
    [InlineData("PUT", "/files/tar?path=", "path: is empty; name a path such as src/main.py or /tmp/data.")]
    public async Task Every_fault_of_a_query_is_named(string method, string request, string error)
    {
        await using HostFixture host = await StartAsync();
        (string path, _) = await ProcessTests.OpenAsync(host);

        Answer answer = await host.SendAsync(method, path + request);

        Assert.Equal((400, error), (answer.Status, answer.Error));
    }

    [Theory]
    [InlineData("move", """{"from": "a", "too": "b"}""", "too: is not a field of the request; did you mean to? to: is missing; give the new path.")]
    [InlineData("move", """{"from": "", "to": "a\u0000"}""", "from: is empty; name a path such as src/main.py or /tmp/data. to: has a NUL character; remove it.")]
    [InlineData("mkdir", "{}", "path: is missing; give the path of the directory.")]
    public async Task Every_fault_of_a_body_is_named(string request, string body, string error)
    {
        await using HostFixture host = await StartAsync();
        (string path, _) = await ProcessTests.OpenAsync(host);

        Answer answer = await host.SendJsonAsync("POST", $"{path}/files/{request}", body);

        Assert.Equal((400, error), (answer.Status, answer.Error));
    }

    [Fact]
    public async Task Stat_list_move_mkdir_and_delete_work()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        await host.SendAsync("PUT", path + "/files?path=a&mode=0600", new StringContent("abc"));

        Assert.Equal("""{"path":"a","type":"file","size":3,"mode":"0600","modified_at":"1970-01-01T00:00:00+00:00"}""", (await host.GetAsync(path + "/files/stat?path=a")).Text);
        Assert.Equal(200, (await host.SendJsonAsync("POST", path + "/files/move", """{"from": "a", "to": "b"}""")).Status);
        Assert.Equal(200, (await host.SendJsonAsync("POST", path + "/files/mkdir", """{"path": "d"}""")).Status);
        Assert.Equal(["b", "d/"], (await host.GetAsync(path + "/files/list")).Json.AsArray().Select(entry => (string)entry!["path"]!).Order(StringComparer.Ordinal));
        Assert.Equal((".", 1), session.Stored.ListedPath);
        await host.GetAsync(path + "/files/list?path=/tmp&depth=3");
        Assert.Equal(("/tmp", 3), session.Stored.ListedPath);
        Assert.Equal(200, (await host.SendAsync("DELETE", path + "/files?path=b")).Status);
        Answer missing = await host.GetAsync(path + "/files/stat?path=b");
        Assert.Equal((404, "not_found"), (missing.Status, (string)missing.Json["reason"]!));
    }

    [Fact]
    public async Task A_list_that_is_cut_off_says_so()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        Assert.False((await host.GetAsync(path + "/files/list")).Response.Headers.Contains("X-Boxer-Incomplete"));

        session.Stored.Listed = new SandboxFileList(
            [.. Enumerable.Range(0, 10_000).Select(i => new SandboxFileInfo { Path = $"{i}", Type = (SandboxFileType)(i % 4) })])
        { IsIncomplete = true };
        Answer answer = await host.GetAsync(path + "/files/list");

        Assert.Equal((10_000, "true"), (answer.Json.AsArray().Count, answer.Response.Headers.GetValues("X-Boxer-Incomplete").Single()));
        Assert.Equal(["file", "directory", "symlink", "other"], answer.Json.AsArray().Take(4).Select(entry => (string)entry!["type"]!));
    }

    [Theory]
    [InlineData(SandboxFileError.NotFound, 404, "not_found")]
    [InlineData(SandboxFileError.AlreadyExists, 409, "already_exists")]
    [InlineData(SandboxFileError.NotADirectory, 400, "not_a_directory")]
    [InlineData(SandboxFileError.IsADirectory, 400, "is_a_directory")]
    [InlineData(SandboxFileError.AccessDenied, 403, "access_denied")]
    [InlineData(SandboxFileError.NoSpace, 507, "no_space")]
    [InlineData(SandboxFileError.TooLarge, 413, "too_large")]
    [InlineData(SandboxFileError.NotSupported, 400, "not_supported")]
    [InlineData(SandboxFileError.Other, 400, "other")]
    public async Task A_failure_in_the_sandbox_has_a_status_and_a_reason(SandboxFileError error, int status, string reason)
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        session.Stored.Fault = new SandboxFileException("a", error, "Words.");

        foreach ((string method, string request, string? body) in new[]
        {
            ("GET", "/files?path=a", null), ("PUT", "/files?path=a", "x"), ("DELETE", "/files?path=a", null), ("GET", "/files/stat?path=a", null), ("GET", "/files/list", null),
            ("POST", "/files/move", """{"from": "a", "to": "b"}"""), ("POST", "/files/mkdir", """{"path": "a"}"""), ("GET", "/files/tar", null), ("PUT", "/files/tar", "x"),
        })
        {
            Answer answer = await host.SendAsync(method, path + request, body is null ? null : new StringContent(body));
            Assert.Equal((status, reason), (answer.Status, (string?)answer.Json["reason"]));
            Assert.EndsWith("a: Words.", answer.Error, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Tar_archives_go_both_ways()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);

        Answer put = await host.SendAsync("PUT", path + "/files/tar?path=/w", new ByteArrayContent([1, 2, 3]));
        Answer got = await host.GetAsync(path + "/files/tar?path=/w");
        await host.SendAsync("PUT", path + "/files/tar", new ByteArrayContent([4]));

        Assert.Equal((200, "/w"), (put.Status, (string)put.Json["path"]!));
        Assert.Equal([1, 2, 3], got.Bytes);
        Assert.Equal("application/x-tar", got.Response.Content.Headers.ContentType!.MediaType);
        Assert.Equal([4], session.Stored.Contents["."]);
    }

    [Theory]
    [InlineData("/files?path=a", "one upload")]
    [InlineData("/files/tar", "an archive")]
    public async Task A_body_that_is_too_large_is_413_and_nothing_is_written(string request, string what)
    {
        await using HostFixture host = await StartAsync(new JsonObject { ["upload_limit_bytes"] = 1_000, ["sessions"] = new JsonObject { ["max_archive_bytes"] = 1_000 } });
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);

        Answer declared = await host.SendAsync("PUT", path + request, new ByteArrayContent(new byte[2_000]));
        Assert.Equal((413, $"the body is larger than 1000 bytes, the maximum size of {what}."), (declared.Status, declared.Error));
        using RawClient client = await RawClient.ConnectAsync(host.Address);
        await client.SendAsync($"PUT {path}{request} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n{new string('x', 2_000)}\r\n0\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 413 ", await client.ReadStatusAsync(), StringComparison.Ordinal);
        Assert.Empty(session.Stored.Contents);
    }

    [Fact]
    public async Task An_archive_may_be_larger_than_an_upload()
    {
        await using HostFixture host = await StartAsync(new JsonObject { ["upload_limit_bytes"] = 1_000 });
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);

        Answer put = await host.SendAsync("PUT", path + "/files/tar", new ByteArrayContent(new byte[20 << 20]));

        Assert.Equal((200, 20 << 20), (put.Status, session.Stored.Contents["."].Length));
    }

    [Fact]
    public async Task A_body_that_stalls_is_400_and_nothing_is_written()
    {
        FakeTimeProvider time = new();
        await using HostFixture host = await StartAsync(configureServices: services => services.AddSingleton<TimeProvider>(time));
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        using RawClient client = await RawClient.ConnectAsync(host.Address);
        await client.SendAsync($"PUT {path}/files?path=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{new string('x', 100_000)}");

        Assert.Contains("the body arrives too slowly", await client.ReadToEndAsync(time, TimeSpan.FromSeconds(15)), StringComparison.Ordinal);
        Assert.Empty(session.Stored.Contents);
    }

    [Fact]
    [Slow]
    public async Task A_client_that_disconnects_in_its_upload_writes_nothing_and_leaves_the_session()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        using (RawClient client = await RawClient.ConnectAsync(host.Address))
        {
            await client.SendAsync($"PUT {path}/files?path=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nsome");
        }

        Assert.Equal(200, (await host.SendAsync("PUT", path + "/files?path=b", new StringContent("x"))).Status);
        Assert.Equal(["b"], session.Stored.Contents.Keys);
        Assert.Null(session.End);
    }

    [Fact]
    [Slow]
    public async Task A_large_file_is_streamed_and_released_when_its_reader_disconnects()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        EndlessFile file = new();
        session.Stored.Open = () => file;
        using (HttpResponseMessage response = await host.Client.GetAsync(new Uri(path + "/files?path=a", UriKind.Relative), HttpCompletionOption.ResponseHeadersRead, Cancel))
        {
            await using Stream content = await response.Content.ReadAsStreamAsync(Cancel);
            await content.ReadExactlyAsync(new byte[5_000_000], Cancel);
        }

        await Until.IsSoAsync(() => file.IsDisposed, seconds: 30);
        Assert.True(file.Bytes < 100_000_000, "The host reads no faster than its client.");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(100_000)]
    public async Task A_file_that_breaks_is_no_short_response(int before)
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        session.Stored.Open = () => new EndlessFile { BreaksAt = before, OnBreak = () => session.EndBy(SandboxSessionEnd.MemoryLimit) };

        if (before == 0)
        {
            Answer answer = await host.GetAsync(path + "/files?path=a");
            Assert.Equal((410, "memory_limit"), (answer.Status, (string)answer.Json["ended"]!));
        }
        else
        {
            await Assert.ThrowsAnyAsync<HttpRequestException>(() => host.GetAsync(path + "/files?path=a"));
        }
    }

    [Fact]
    public async Task A_session_that_ends_during_an_upload_is_410()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        session.Stored.OnWrite = () =>
        {
            session.EndBy(SandboxSessionEnd.SandboxDied);
            throw new IOException("/secret");
        };

        Answer answer = await host.SendAsync("PUT", path + "/files?path=a", new StringContent("x"));

        Assert.Equal((410, "sandbox_died"), (answer.Status, (string)answer.Json["ended"]!));
    }

    /// <summary>A file without end, or one that breaks.</summary>
    private sealed class EndlessFile : Boxer.Common.ForwardStream
    {
        public long Bytes { get; private set; }

        public bool IsDisposed { get; private set; }

        public long BreaksAt { get; init; } = long.MaxValue;

        public Action? OnBreak { get; init; }

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await Task.Yield();
            cancellationToken.ThrowIfCancellationRequested();
            if (Bytes >= BreaksAt)
            {
                OnBreak?.Invoke();
                throw new IOException("broken");
            }

            Bytes += buffer.Length;
            return buffer.Length;
        }

        protected override void Dispose(bool disposing)
        {
            IsDisposed = true;
            base.Dispose(disposing);
        }
    }
}

public sealed class HttpHostSessionFileTests() : SessionFileTests(ContractHost.HttpHost);

public sealed class MinimalApiSessionFileTests() : SessionFileTests(ContractHost.MinimalApi);
