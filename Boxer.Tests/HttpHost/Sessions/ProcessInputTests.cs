using System.Text;
using System.Text.Json.Nodes;
using Boxer.AspNetCore.Sessions;
using Boxer.Tests.Support;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.HttpHost.Sessions;

/// <summary>Tests of the standard input of processes over HTTP.</summary>
public abstract class ProcessInputTests(ContractHost contract) : ContractTests(contract)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Stdin_writes_the_bytes_and_closes_the_input_with_end()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        await ProcessTests.StartProcessAsync(host, path);
        byte[] bytes = [0, 255, 10, 13];

        Assert.Equal(200, (await host.SendAsync("POST", path + "/processes/1/stdin", new ByteArrayContent(bytes))).Status);
        Assert.False(session.Started[0].Written.IsClosed);
        Assert.Equal(400, (await host.SendAsync("POST", path + "/processes/1/stdin?end=1", new ByteArrayContent(bytes))).Status);
        Assert.Equal(200, (await host.SendAsync("POST", path + "/processes/1/stdin?end=true", new ByteArrayContent(bytes))).Status);
        Answer closed = await host.SendAsync("POST", path + "/processes/1/stdin", new ByteArrayContent(bytes));

        Assert.Equal([.. bytes, .. bytes], session.Started[0].Written.Bytes);
        Assert.True(session.Started[0].Written.IsClosed);
        Assert.Equal((409, "the standard input of the process is closed."), (closed.Status, closed.Error));
    }

    [Fact]
    public async Task Stdin_end_without_a_body_closes_the_input()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        await ProcessTests.StartProcessAsync(host, path);

        Assert.Equal(200, (await host.SendAsync("POST", path + "/processes/1/stdin?end=true")).Status);
        Assert.True(session.Started[0].Written.IsClosed);
    }

    [Fact]
    [Slow]
    public async Task Stdin_is_streamed_while_the_body_arrives_and_waits_for_a_slow_process()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        await ProcessTests.StartProcessAsync(host, path);
        using RawClient client = await RawClient.ConnectAsync(host.Address);

        await client.SendAsync($"POST {path}/processes/1/stdin HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        await Until.IsSoAsync(() => session.Started[0].Written.Bytes.Length == 5, seconds: 30);
        TaskCompletionSource ready = new();
        session.Started[0].Written.Ready = ready.Task;
        await client.SendAsync("6\r\nsecond\r\n0\r\n\r\n");
        Task<string?> status = client.ReadStatusAsync();

        // Other requests go on meanwhile; a second writer waits for its turn.
        Task<Answer> next = host.SendAsync("POST", path + "/processes/1/stdin", new StringContent("third"));
        Assert.Equal(200, (await host.SendJsonAsync("POST", path + "/processes/1/signal", """{"signal": 1}""")).Status);
        Assert.False(status.IsCompleted);
        ready.SetResult();

        Assert.Equal("HTTP/1.1 200 OK", await status);
        Assert.Equal(200, (await next).Status);
        Assert.Equal("firstsecondthird", Encoding.ASCII.GetString(session.Started[0].Written.Bytes));
    }

    [Fact]
    [Slow]
    public async Task A_client_that_disconnects_in_its_input_leaves_the_input_open()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        await ProcessTests.StartProcessAsync(host, path);
        using (RawClient client = await RawClient.ConnectAsync(host.Address))
        {
            await client.SendAsync($"POST {path}/processes/1/stdin?end=true HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nfirst");
            await Until.IsSoAsync(() => session.Started[0].Written.Bytes.Length == 5, seconds: 30);
        }

        Assert.Equal(200, (await host.SendAsync("POST", path + "/processes/1/stdin", new StringContent("second"))).Status);
        Assert.Equal(("firstsecond", false), (Encoding.ASCII.GetString(session.Started[0].Written.Bytes), session.Started[0].Written.IsClosed));
        Assert.Null(session.End);
    }

    [Fact]
    public async Task Input_that_is_too_large_is_413()
    {
        await using HostFixture host = await StartAsync(new JsonObject { ["upload_limit_bytes"] = 1_000 });
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        await ProcessTests.StartProcessAsync(host, path);

        Answer answer = await host.SendAsync("POST", path + "/processes/1/stdin", new ByteArrayContent(new byte[2_000]));

        Assert.Equal((413, "the body has more than 1000 bytes; send it in several requests."), (answer.Status, answer.Error));
        Assert.Empty(session.Started[0].Written.Bytes);
    }

    [Fact]
    public async Task A_process_that_ends_while_its_input_arrives_is_404()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        await ProcessTests.StartProcessAsync(host, path);
        TaskCompletionSource ready = new();
        session.Started[0].Written.Ready = ready.Task;
        Task<Answer> writing = host.SendAsync("POST", path + "/processes/1/stdin", new StringContent("x"));

        session.Started[0].Finish(new SandboxProcessEnd(Termination.Exited(0)));
        ready.SetException(new IOException("broken"));

        Assert.Equal(404, (await writing).Status);
    }

    [Fact]
    public async Task A_request_to_a_process_that_reads_no_more_ends_with_the_number_of_bytes_that_were_written()
    {
        FakeTimeProvider time = new();
        await using HostFixture host = await StartAsync(configureServices: services => services.AddSingleton<TimeProvider>(time));
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        ScriptedInput input = (await ProcessTests.StartProcessAsync(host, path)).Written;
        using RawClient client = await BeginAndBlockAsync(host, path, input);

        string answer = await client.ReadToEndAsync(time, ProcessInputEndpoint.Patience);

        Assert.StartsWith("HTTP/1.1 409 ", answer, StringComparison.Ordinal);
        Assert.Contains("""{"error":"the process took less than 32 KiB of its input in 60 s. 5 bytes of the body were written; send the rest again.","written":5}""", answer, StringComparison.Ordinal);
        input.Ready = Task.CompletedTask;
        Assert.Equal(200, (await host.SendAsync("POST", path + "/processes/1/stdin", new StringContent("second"))).Status);
        Assert.Equal(("firstsecond", false), (Encoding.ASCII.GetString(input.Bytes), input.IsClosed));
        Assert.Null(session.End);
    }

    [Fact]
    public async Task A_pause_between_two_pieces_of_input_ends_the_request_with_the_number_of_bytes_that_were_written()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        ScriptedInput input = (await ProcessTests.StartProcessAsync(host, path)).Written;
        using RawClient client = await BeginAsync(host, path, input);

        await session.PauseAsync(Cancel);
        await client.SendAsync("6\r\nsecond\r\n0\r\n\r\n");
        string answer = await client.ReadToEndAsync();

        Assert.StartsWith("HTTP/1.1 409 ", answer, StringComparison.Ordinal);
        Assert.Contains(
            """{"error":"The session is paused. Resume it first, or add ?resume=true. 5 bytes of the body were written; send the rest again.","state":"paused","written":5}""",
            answer,
            StringComparison.Ordinal);
        Assert.Equal(200, (await host.SendAsync("POST", path + "/processes/1/stdin?resume=true", new StringContent("second"))).Status);
        Assert.Equal(("firstsecond", false), (Encoding.ASCII.GetString(input.Bytes), input.IsClosed));
    }

    [Fact]
    public async Task A_process_that_takes_nothing_because_its_session_is_paused_is_not_blamed()
    {
        FakeTimeProvider time = new();
        await using HostFixture host = await StartAsync(configureServices: services => services.AddSingleton<TimeProvider>(time));
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        ScriptedInput input = (await ProcessTests.StartProcessAsync(host, path)).Written;
        using RawClient client = await BeginAndBlockAsync(host, path, input);
        await session.PauseAsync(Cancel);

        string answer = await client.ReadToEndAsync(time, ProcessInputEndpoint.Patience);

        Assert.StartsWith("HTTP/1.1 409 ", answer, StringComparison.Ordinal);
        Assert.Contains("""send the rest again.","state":"paused","written":5}""", answer, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_request_has_a_deadline_also_while_it_waits_for_its_client_or_its_turn(bool isClientSlow)
    {
        FakeTimeProvider time = new();
        JsonObject config = new() { ["body_timeout_secs"] = 1, ["upload_limit_bytes"] = 1_000 };
        await using HostFixture host = await StartAsync(config, configureServices: services => services.AddSingleton<TimeProvider>(time));
        (string path, _) = await ProcessTests.OpenAsync(host);
        ScriptedInput input = (await ProcessTests.StartProcessAsync(host, path)).Written;
        using RawClient first = await BeginAsync(host, path, input);
        input.Ready = new TaskCompletionSource().Task;
        await first.SendAsync(isClientSlow ? "6\r\nsec" : "6\r\nsecond\r\n0\r\n\r\n");
        Task<Answer> second = host.SendAsync("POST", path + "/processes/1/stdin", new StringContent("third"));

        string answer = await first.ReadToEndAsync(time, TimeSpan.FromSeconds(1));
        await Until.IsSoAsync(
            () =>
            {
                time.Advance(TimeSpan.FromSeconds(1));
                return second.IsCompleted;
            },
            seconds: 30);

        Assert.StartsWith("HTTP/1.1 409 ", answer, StringComparison.Ordinal);
        Assert.Contains("""{"error":"the body could not be written within 1 s. 5 bytes of the body were written; send the rest again.","written":5}""", answer, StringComparison.Ordinal);
        Assert.Equal((409, 0), ((await second).Status, (int)(await second).Json["written"]!));
        Assert.Equal("first", Encoding.ASCII.GetString(input.Bytes));
    }

    [Fact]
    public async Task A_body_that_arrives_too_slowly_is_refused_with_the_number_of_bytes_that_were_written()
    {
        FakeTimeProvider time = new();
        await using HostFixture host = await StartAsync(configureServices: services => services.AddSingleton<TimeProvider>(time));
        (string path, _) = await ProcessTests.OpenAsync(host);
        using RawClient client = await BeginAsync(host, path, (await ProcessTests.StartProcessAsync(host, path)).Written);

        string answer = await client.ReadToEndAsync(time, TimeSpan.FromSeconds(15));

        Assert.StartsWith("HTTP/1.1 400 ", answer, StringComparison.Ordinal);
        Assert.Contains("fewer than 3600 bytes came within 15 s. 5 bytes of the body were written; send the rest again.\",\"written\":5}", answer, StringComparison.Ordinal);
    }

    /// <summary>Begins a request whose first five bytes the process has taken.</summary>
    private static async Task<RawClient> BeginAsync(HostFixture host, string path, ScriptedInput input)
    {
        RawClient client = await RawClient.ConnectAsync(host.Address);
        await client.SendAsync($"POST {path}/processes/1/stdin?end=true HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        await Until.IsSoAsync(() => input.Bytes.Length == 5, seconds: 30);
        return client;
    }

    /// <summary>Begins a request whose first five bytes the process has taken, and whose next ones wait for it.</summary>
    private static async Task<RawClient> BeginAndBlockAsync(HostFixture host, string path, ScriptedInput input)
    {
        RawClient client = await BeginAsync(host, path, input);
        input.Ready = new TaskCompletionSource().Task;
        await client.SendAsync("6\r\nsecond\r\n0\r\n\r\n");
        await Until.IsSoAsync(() => input.Writes == 2, seconds: 30);
        return client;
    }
}

public sealed class HttpHostProcessInputTests() : ProcessInputTests(ContractHost.HttpHost);

public sealed class MinimalApiProcessInputTests() : ProcessInputTests(ContractHost.MinimalApi);
