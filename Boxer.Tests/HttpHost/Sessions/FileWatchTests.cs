using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Boxer.Tests.Support;

namespace Boxer.Tests.HttpHost.Sessions;

/// <summary>Tests of watches of files over HTTP.</summary>
public abstract class FileWatchTests(ContractHost contract) : ContractTests(contract)
{
    private const string Path = "/sessions/{id}/files/watch";

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Changes_are_events_and_the_start_is_the_first()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        string? watched = null;
        session.Stored.Watch = (directory, _) =>
        {
            watched = directory;
            return new[]
            {
                new SandboxFileChange(SandboxFileChangeKind.Started, ""), new SandboxFileChange(SandboxFileChangeKind.Created, "a \n\u2028é"),
                new SandboxFileChange(SandboxFileChangeKind.Changed, ""), new SandboxFileChange(SandboxFileChangeKind.Deleted, "b/c"),
                new SandboxFileChange(SandboxFileChangeKind.Overflow, ""), new SandboxFileChange((SandboxFileChangeKind)99, "later"),
            }.ToAsyncEnumerable();
        };

        Answer answer = await host.GetAsync(path + "/files/watch?path=src");

        Assert.Equal(
            """
            event: started
            data: {"path":""}

            event: created
            data: {"path":"a \nX"}

            event: changed
            data: {"path":""}

            event: deleted
            data: {"path":"b/c"}

            event: overflow
            data: {"path":""}

            event: changed
            data: {"path":"later"}


            """.ReplaceLineEndings("\n").Replace("X", "\u2028é", StringComparison.Ordinal),
            answer.Text.Replace("\\u2028", "\u2028", StringComparison.Ordinal));
        Assert.Equal(("src", "text/event-stream", "no-store"), (watched, answer.Response.Content.Headers.ContentType!.MediaType, answer.Response.Headers.CacheControl!.ToString()));
        Assert.Empty(host.Document.FindEventFaults(answer.Text, Path, "get"));
    }

    [Fact]
    [Slow]
    public async Task A_host_that_stops_ends_a_watch_as_the_end_of_the_session()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        session.Stored.Watch = (_, cancel) => ForeverAsync(cancel);
        using HttpRequestMessage request = new(HttpMethod.Get, new Uri(path + "/files/watch", UriKind.Relative));
        using HttpResponseMessage response = await host.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Cancel);

        Task stopping = host.App.StopAsync(Cancel);

        string text = await response.Content.ReadAsStringAsync(Cancel);
        Assert.EndsWith("event: error\ndata: {\"status\":410,\"error\":\"The session ended: its host stopped.\",\"ended\":\"host_stopped\"}\n\n", text, StringComparison.Ordinal);
        Assert.Empty(host.Document.FindEventFaults(text, Path, "get"));
        await stopping;
    }

    private static async IAsyncEnumerable<SandboxFileChange> ForeverAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        yield return new SandboxFileChange(SandboxFileChangeKind.Started, "");
        await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, cancellationToken);
    }

    [Fact]
    public async Task A_failure_before_the_start_has_a_status()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        session.Stored.Watch = (_, token) => FailAsync(started: false, new SandboxFileException("/none", SandboxFileError.NotFound), token);

        Answer missing = await host.GetAsync(path + "/files/watch?path=/none");
        Assert.Equal((404, "not_found"), (missing.Status, (string?)missing.Json["reason"]));

        session.Stored.Watch = (_, token) => FailAsync(started: false, new SandboxCapacityException("16 watches are open in this session."), token);
        Assert.Equal(429, (await host.GetAsync(path + "/files/watch")).Status);
        Assert.Equal("path: has a NUL character; remove it.", (await host.GetAsync(path + "/files/watch?path=a%00")).Error);
    }

    [Fact]
    public async Task A_watch_that_breaks_says_so_in_an_error_event()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        session.Stored.Watch = (_, token) => FailAsync(started: true, new SandboxSessionEndedException(session.Id, SandboxSessionEnd.Lifetime), token);

        Answer answer = await host.GetAsync(path + "/files/watch");

        Assert.Contains("event: error\ndata: {\"status\":410,\"error\":\"The session ended: it reached its lifetime.\",\"ended\":\"lifetime\"}\n\n", answer.Text, StringComparison.Ordinal);
        Assert.Empty(host.Document.FindEventFaults(answer.Text, Path, "get"));
    }

    [Fact]
    [Slow]
    public async Task A_client_gets_changes_as_they_happen_and_ends_the_watch_when_it_disconnects()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        Channel<SandboxFileChange> changes = Channel.CreateUnbounded<SandboxFileChange>();
        TaskCompletionSource ended = new();
        session.Stored.Watch = (_, token) => ReadAsync(changes.Reader, ended, token);
        using (HttpResponseMessage response = await StartAsync(host, path, changes))
        {
            using StreamReader reader = new(await response.Content.ReadAsStreamAsync(Cancel));
            Assert.Equal(["event: started", "data: {\"path\":\"\"}", ""], [await reader.ReadLineAsync(Cancel), await reader.ReadLineAsync(Cancel), await reader.ReadLineAsync(Cancel)]);
            await changes.Writer.WriteAsync(new SandboxFileChange(SandboxFileChangeKind.Created, "a"), Cancel);
            Assert.Equal("event: created", await reader.ReadLineAsync(Cancel));
        }

        await ended.Task.WaitAsync(TimeSpan.FromSeconds(30), Cancel);
        Assert.Null(session.End);
    }

    private static async Task<HttpResponseMessage> StartAsync(HostFixture host, string path, Channel<SandboxFileChange> changes)
    {
        await changes.Writer.WriteAsync(new SandboxFileChange(SandboxFileChangeKind.Started, ""), Cancel);
        return await host.Client.GetAsync(new Uri(path + "/files/watch", UriKind.Relative), HttpCompletionOption.ResponseHeadersRead, Cancel);
    }

    private static async IAsyncEnumerable<SandboxFileChange> ReadAsync(
        ChannelReader<SandboxFileChange> changes, TaskCompletionSource ended, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        try
        {
            await foreach (SandboxFileChange change in changes.ReadAllAsync(cancellationToken))
            {
                yield return change;
            }
        }
        finally
        {
            ended.SetResult();
        }
    }

    private static async IAsyncEnumerable<SandboxFileChange> FailAsync(bool started, Exception fault, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        if (started)
        {
            yield return new SandboxFileChange(SandboxFileChangeKind.Started, "");
        }

        await Task.Yield();
        cancellationToken.ThrowIfCancellationRequested();
        throw fault;
    }
}

public sealed class HttpHostFileWatchTests() : FileWatchTests(ContractHost.HttpHost);

public sealed class MinimalApiFileWatchTests() : FileWatchTests(ContractHost.MinimalApi);
