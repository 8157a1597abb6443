using System.Text;
using System.Text.Json.Nodes;
using Boxer.AspNetCore.Sessions;
using Boxer.Tests.Support;
using CsCheck;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.HttpHost.Sessions;

/// <summary>Tests of the events of processes over HTTP.</summary>
public abstract class ProcessEventTests(ContractHost contract) : ContractTests(contract)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Events_have_offsets_as_ids_and_the_end_is_last()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        ScriptedProcess process = await ProcessTests.StartProcessAsync(host, path);
        process.Print("one\n");
        process.Print("two", SandboxStream.StandardError);
        process.Finish(new SandboxProcessEnd(Termination.Exited(3)) { LeftBehind = 1 });

        Answer answer = await host.GetAsync(path + "/processes/1/events");

        Assert.Equal(
            """
            id: 4
            event: stdout
            data: {"offset":0,"text":"one\n"}

            id: 7
            event: stderr
            data: {"offset":4,"text":"two"}

            event: ended
            data: {"termination":"exited","exit_code":3,"left_behind":1,"usage":{}}


            """.ReplaceLineEndings("\n"),
            answer.Text);
        Assert.Equal(("text/event-stream", "no-store"), (answer.Response.Content.Headers.ContentType!.MediaType, answer.Response.Headers.CacheControl!.ToString()));
        Assert.Empty(host.Document.FindEventFaults(answer.Text, EventsPath, "get"));
        Assert.Null(session.End);
    }

    [Fact]
    public async Task A_terminal_has_output_events()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        await host.SendJsonAsync("POST", path + "/processes", """{"cmd": ["a"], "terminal": {"cols": 80, "rows": 24}}""");
        session.Started[0].Print("$ ");
        session.Started[0].Finish(new SandboxProcessEnd(Termination.Exited(0)));

        Answer answer = await host.GetAsync(path + "/processes/1/events");

        Assert.StartsWith("id: 2\nevent: output\ndata: {\"offset\":0,\"text\":\"$ \"}\n\n", answer.Text, StringComparison.Ordinal);
        Assert.Empty(host.Document.FindEventFaults(answer.Text, EventsPath, "get"));
    }

    [Theory]
    [InlineData("4", "", "two")]
    [InlineData("", "?offset=4", "two")]
    [InlineData("4", "?offset=0", "two")]
    [InlineData("5", "", "wo")]
    [InlineData("7", "", "")]
    [InlineData("0", "?offset=7", "one\ntwo")]
    public async Task A_client_attaches_again_at_an_offset(string header, string query, string text)
    {
        await using HostFixture host = await StartAsync();
        (string path, _) = await ProcessTests.OpenAsync(host);
        ScriptedProcess process = await ProcessTests.StartProcessAsync(host, path);
        process.Print("one\n");
        process.Print("two");
        process.Finish(new SandboxProcessEnd(Termination.Exited(0)));

        Answer answer = await ReadAsync(host, path + "/processes/1/events" + query, header);

        Assert.Equal(text, TextOf(answer.Text));
    }

    [Theory]
    [InlineData("x", "", "Last-Event-ID: must be a whole number of at least 0, not \"x\".")]
    [InlineData("-1", "", "Last-Event-ID: must be a whole number of at least 0, not \"-1\".")]
    [InlineData("99999999999999999999", "", "Last-Event-ID: must be a whole number of at least 0, not \"99999999999999999999\".")]
    [InlineData("", "?offset=&resume=1", "offset: must be a whole number of at least 0, not \"\". resume: must be true or false, not \"1\".")]
    [InlineData("", "?offset=1&offset=2", "offset: appears twice; send it once.")]
    public async Task Events_names_all_faults_of_the_offset(string header, string query, string error)
    {
        await using HostFixture host = await StartAsync();
        (string path, _) = await ProcessTests.OpenAsync(host);
        await ProcessTests.StartProcessAsync(host, path);

        Answer answer = await ReadAsync(host, path + "/processes/1/events" + query, header);

        Assert.Equal((400, error), (answer.Status, answer.Error));
    }

    [Fact]
    public async Task Dropped_output_is_visible_as_a_gap_between_offsets()
    {
        await using HostFixture host = await StartAsync();
        (string path, _) = await ProcessTests.OpenAsync(host);
        ScriptedProcess process = await ProcessTests.StartProcessAsync(host, path);
        process.Print("forgotten");
        process.Forget();
        process.Print("kept");
        process.Finish(new SandboxProcessEnd(Termination.Exited(0)));

        Answer answer = await host.GetAsync(path + "/processes/1/events");

        Assert.StartsWith("id: 13\nevent: stdout\ndata: {\"offset\":9,\"text\":\"kept\"}", answer.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_attached_client_gets_output_as_it_is_printed_and_comments_meanwhile()
    {
        FakeTimeProvider time = new();
        await using HostFixture host = await StartAsync(configureServices: services => services.AddSingleton<TimeProvider>(time));
        (string path, _) = await ProcessTests.OpenAsync(host);
        ScriptedProcess process = await ProcessTests.StartProcessAsync(host, path);
        using HttpResponseMessage response = await AttachAsync(host, path);
        using StreamReader reader = new(await response.Content.ReadAsStreamAsync(Cancel));

        Assert.Equal(": waiting", await reader.ReadLineAsync(Cancel));
        Assert.Equal("", await reader.ReadLineAsync(Cancel));
        Task<string?> comment = reader.ReadLineAsync(Cancel).AsTask();
        for (int i = 0; i < 1_000 && !comment.IsCompleted; i++)
        {
            time.Advance(TimeSpan.FromSeconds(15));
            await Task.WhenAny(comment, Task.Delay(TimeSpan.FromMilliseconds(20), TimeProvider.System, Cancel));
        }

        Assert.Equal(": waiting", await comment);
        process.Print("early");
        string seen = "";
        while (!seen.Contains("early", StringComparison.Ordinal))
        {
            seen += await reader.ReadLineAsync(Cancel);
        }

        process.Finish(new SandboxProcessEnd(Termination.Exited(0)));
        Assert.Contains("event: ended", await reader.ReadToEndAsync(Cancel), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(SandboxSessionEnd.SandboxDied, "sandbox_died")]
    [InlineData(SandboxSessionEnd.MemoryLimit, "memory_limit")]
    [InlineData(SandboxSessionEnd.IdleTimeout, "idle_timeout")]
    public async Task A_stream_whose_session_ends_says_so_in_its_last_event(SandboxSessionEnd end, string name)
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        await ProcessTests.StartProcessAsync(host, path);
        using HttpResponseMessage response = await AttachAsync(host, path);

        session.EndBy(end);

        string text = await response.Content.ReadAsStringAsync(Cancel);
        JsonNode last = JsonNode.Parse(text.Split("event: ended\ndata: ")[1])!;
        Assert.Equal((end == SandboxSessionEnd.MemoryLimit ? "memory_limit" : "sandbox_died", name), ((string)last["termination"]!, (string)last["session_ended"]!));
        Assert.Empty(host.Document.FindEventFaults(text, EventsPath, "get"));
    }

    [Fact]
    public async Task A_stream_that_breaks_says_so_in_an_error_event_without_private_details()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        ScriptedProcess first = await ProcessTests.StartProcessAsync(host, path), second = await ProcessTests.StartProcessAsync(host, path);
        using HttpResponseMessage ended = await AttachAsync(host, path), broken = await AttachAsync(host, path, pid: 2);

        first.Break(new SandboxSessionEndedException(session.Id, SandboxSessionEnd.SandboxDied));
        second.Break(new SandboxRuntimeException("/secret"));

        string text = await ended.Content.ReadAsStringAsync(Cancel), other = await broken.Content.ReadAsStringAsync(Cancel);
        Assert.EndsWith("event: error\ndata: {\"status\":410,\"error\":\"The session ended: its sandbox died.\",\"ended\":\"sandbox_died\"}\n\n", text, StringComparison.Ordinal);
        Assert.Contains("event: error\ndata: {\"status\":500,", other, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", other, StringComparison.Ordinal);
        Assert.Empty(host.Document.FindEventFaults(text, EventsPath, "get"));
    }

    [Fact]
    [Slow]
    public async Task A_host_that_stops_ends_the_events_as_the_end_of_the_session()
    {
        await using HostFixture host = await StartAsync();
        (string path, _) = await ProcessTests.OpenAsync(host);
        await ProcessTests.StartProcessAsync(host, path);
        using HttpResponseMessage response = await AttachAsync(host, path);

        Task stopping = host.App.StopAsync(Cancel);

        Assert.EndsWith("event: error\ndata: {\"status\":410,\"error\":\"The session ended: its host stopped.\",\"ended\":\"host_stopped\"}\n\n", await response.Content.ReadAsStringAsync(Cancel), StringComparison.Ordinal);
        await stopping;
    }

    [Fact]
    [Slow]
    public async Task A_client_that_disconnects_leaves_the_process_and_other_clients_alone()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        ScriptedProcess process = await ProcessTests.StartProcessAsync(host, path);
        using HttpResponseMessage stays = await AttachAsync(host, path);
        using (RawClient client = await RawClient.ConnectAsync(host.Address))
        {
            await client.SendAsync($"GET {path}/processes/1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
            await Until.IsSoAsync(() => process.Readers == 2, seconds: 30);
        }

        await Until.IsSoAsync(() => process.Readers == 1, seconds: 30);
        process.Print("still here");
        process.Finish(new SandboxProcessEnd(Termination.Exited(0)));

        Assert.Equal("still here", TextOf(await stays.Content.ReadAsStringAsync(Cancel)));
        Assert.Null(session.End);
    }

    [Fact]
    [Slow]
    public async Task A_slow_reader_delays_neither_the_process_nor_other_readers()
    {
        await using HostFixture host = await StartAsync();
        (string path, _) = await ProcessTests.OpenAsync(host);
        ScriptedProcess process = await ProcessTests.StartProcessAsync(host, path);
        using RawClient slow = await RawClient.ConnectAsync(host.Address);
        slow.Tcp.ReceiveBufferSize = 4_096;
        await slow.SendAsync($"GET {path}/processes/1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
        await Until.IsSoAsync(() => process.Readers == 1, seconds: 30);
        string line = new('x', 100_000);
        for (int i = 0; i < 200; i++)
        {
            process.Print(line);
        }

        process.Finish(new SandboxProcessEnd(Termination.Exited(0)));

        Assert.Equal(20_000_000, TextOf((await host.GetAsync(path + "/processes/1/events")).Text).Length);
        Assert.Equal(1, process.Readers);
    }

    [Fact]
    public async Task Bytes_that_are_not_UTF8_are_sent_in_base64_too()
    {
        await using HostFixture host = await StartAsync();
        (string path, _) = await ProcessTests.OpenAsync(host);
        ScriptedProcess process = await ProcessTests.StartProcessAsync(host, path);
        process.Print([0x61, 0xff, 0x62]);
        process.Print([0xe2, 0x82]);
        process.Finish(new SandboxProcessEnd(Termination.Exited(0)));

        string text = (await host.GetAsync(path + "/processes/1/events")).Text;

        Assert.StartsWith("id: 3\nevent: stdout\ndata: {\"offset\":0,\"text\":\"a\uFFFDb\",\"content_base64\":\"Yf9i\"}\n\nid: 5\nevent: stdout\ndata: {\"offset\":3,\"text\":\"\uFFFD\",\"content_base64\":\"4oI=\"}", text, StringComparison.Ordinal);
        Assert.Empty(host.Document.FindEventFaults(text, EventsPath, "get"));
    }

    private const string EventsPath = "/sessions/{id}/processes/{pid}/events";

    private static async Task<Answer> ReadAsync(HostFixture host, string path, string lastEventId)
    {
        using HttpRequestMessage request = new(HttpMethod.Get, new Uri(path, UriKind.Relative));
        if (lastEventId.Length > 0)
        {
            request.Headers.Add("Last-Event-ID", lastEventId);
        }

        using HttpResponseMessage response = await host.Client.SendAsync(request, Cancel);
        return await Answer.ReadAsync(response);
    }

    private static async Task<HttpResponseMessage> AttachAsync(HostFixture host, string path, int pid = 1)
    {
        using HttpRequestMessage request = new(HttpMethod.Get, new Uri(FormattableString.Invariant($"{path}/processes/{pid}/events"), UriKind.Relative));
        return await host.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Cancel);
    }

    private static string TextOf(string events) => string.Concat(events.Split("\n\n", StringSplitOptions.RemoveEmptyEntries)
        .Where(block => block.Contains("event: stdout", StringComparison.Ordinal) || block.Contains("event: stderr", StringComparison.Ordinal))
        .Select(block => (string)JsonNode.Parse(block.Split("data: ")[1])!["text"]!));
}

/// <summary>Tests of the division of output into characters.</summary>
public sealed class ProcessTextTests
{
    [Fact]
    public void Add_keeps_characters_whole_however_the_bytes_are_divided() =>
        Gen.Select(Generators.Pick(["a", "\u00e9", "\u20ac", "\ud83d\ude00", "\n"]).Array[0, 30], Gen.Int[1, 7], (parts, size) => (Text: string.Concat(parts), size)).Sample(sample =>
        {
            byte[] bytes = Encoding.UTF8.GetBytes(sample.Text);
            List<SandboxProcessOutput> pieces = Divide(bytes.Chunk(sample.size).Select(chunk => (SandboxStream.StandardOutput, chunk)));

            Assert.Equal(sample.Text, string.Concat(pieces.Select(piece => ProcessText.BodyOf(piece).Text)));
            Assert.All(pieces, piece => Assert.Null(ProcessText.BodyOf(piece).ContentBase64));
        });

    [Fact]
    public void Add_loses_no_byte_and_no_offset_of_any_output() =>
        Gen.Select(Gen.Byte.Array[0, 8], Gen.Bool, (bytes, isError) => (isError ? SandboxStream.StandardError : SandboxStream.StandardOutput, bytes)).Array[0, 20].Sample(chunks =>
        {
            List<SandboxProcessOutput> pieces = Divide(chunks);

            Assert.Equal(chunks.SelectMany(chunk => chunk.bytes), pieces.SelectMany(piece => piece.Data.ToArray()));
            long at = 0;
            foreach (SandboxProcessOutput piece in pieces)
            {
                Assert.Equal(at, piece.Offset);
                at = piece.EndOffset;
            }
        });

    [Fact]
    public void Add_divides_large_output()
    {
        List<SandboxProcessOutput> pieces = Divide([(SandboxStream.StandardOutput, Encoding.UTF8.GetBytes(new string('\u20ac', 100_000)))]);

        Assert.All(pieces, piece => Assert.InRange(piece.Data.Length, 1, 65_536));
        Assert.All(pieces, piece => Assert.Null(ProcessText.BodyOf(piece).ContentBase64));
        Assert.Equal(300_000, pieces.Sum(piece => piece.Data.Length));
    }

    private static List<SandboxProcessOutput> Divide(IEnumerable<(SandboxStream Stream, byte[] Bytes)> chunks)
    {
        ProcessText text = new();
        List<SandboxProcessOutput> pieces = [];
        long offset = 0;
        foreach ((SandboxStream stream, byte[] bytes) in chunks)
        {
            pieces.AddRange(text.Add(new SandboxProcessOutput(offset, stream, bytes)));
            offset += bytes.Length;
        }

        if (text.End() is { } rest)
        {
            pieces.Add(rest);
        }

        return pieces;
    }
}

public sealed class HttpHostProcessEventTests() : ProcessEventTests(ContractHost.HttpHost);

public sealed class MinimalApiProcessEventTests() : ProcessEventTests(ContractHost.MinimalApi);
