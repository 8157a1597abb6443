using Boxer.Testing;

namespace Boxer.PublicApi.Tests;

/// <summary>Tests of the fake runner in the package Boxer.Testing.</summary>
public sealed class FakeSandboxRunnerTests
{
    private readonly FakeSandboxRunner _runner = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_last_matching_answer_is_used()
    {
        _runner.WhenAny().Returns("any");
        _runner.WhenImage("python:3").Returns("python");
        _runner.WhenCommand("git", "clone").Returns("cloned");
        _runner.When(request => request.Network == "host").Returns(_ => new SandboxResult(Termination.Exited(3)) { StandardError = "no" });

        Assert.Equal("any", (await _runner.RunAsync(new SandboxRequest("debian:12", "git", "status"), Cancel)).StandardOutput);
        Assert.Equal("python", (await _runner.RunAsync(new SandboxRequest("python:3", "git"), Cancel)).StandardOutput);
        Assert.Equal("cloned", (await _runner.RunAsync(new SandboxRequest("python:3", "git", "clone", "x"), Cancel)).StandardOutput);
        SandboxResult refused = await _runner.RunAsync(new SandboxRequest("python:3", "git", "clone", "x") { Network = "host" }, Cancel);
        Assert.Equal((3, "no"), (refused.ExitCode, refused.StandardError));
    }

    [Fact]
    public async Task Returns_streams_the_output_of_the_result()
    {
        SandboxResult result = new(Termination.Exited(1)) { StandardOutput = "out", StandardError = "err" };
        _runner.WhenAny().Returns(result);
        StringWriter stdout = new();
        StringWriter stderr = new();

        Assert.Same(result, await _runner.StreamAsync(new SandboxRequest("a", "b"), Cancel).CopyToAsync(stdout, stderr, Cancel));

        Assert.Equal(("out", "err"), (stdout.ToString(), stderr.ToString()));
        Assert.Same(result, await _runner.RunAsync(new SandboxRequest("a", "b"), Cancel));
    }

    [Fact]
    public async Task KeepStandardOutput_false_returns_a_result_without_output()
    {
        _runner.WhenAny().Returns("out");
        StringWriter stdout = new();

        SandboxResult result = await _runner.StreamAsync(new SandboxRequest("a", "b") { KeepStandardOutput = false }, Cancel).CopyToAsync(stdout, TextWriter.Null, Cancel);

        Assert.Equal(("out", ""), (stdout.ToString(), result.StandardOutput));
        Assert.True(result.IsSuccess);
    }

    [Fact]
    public async Task Throws_sets_image_and_run_of_the_exception()
    {
        SandboxCapacityException full = new("full", TimeSpan.FromSeconds(9));
        _runner.WhenAny().Throws(full);

        SandboxCapacityException thrown = await Assert.ThrowsAsync<SandboxCapacityException>(() => _runner.RunAsync(new SandboxRequest("a", "b"), Cancel));

        Assert.Same(full, thrown);
        Assert.Equal(("a", TimeSpan.FromSeconds(9), true), (thrown.Image, thrown.RetryAfter, thrown.IsRetrySafe));
        Assert.StartsWith("boxer-", thrown.RunId, StringComparison.Ordinal);

        _runner.WhenAny().Throws(request => new TimeoutException(request.Image));
        Assert.Equal("a", (await Assert.ThrowsAsync<TimeoutException>(() => _runner.RunAsync(new SandboxRequest("a", "b"), Cancel))).Message);
    }

    [Fact]
    public async Task Streams_returns_the_events_unchanged()
    {
        SandboxEvent[] events = [new SandboxStarted("boxer-1"), new SandboxDataReceived(SandboxStream.StandardOutput, "tick"), new SandboxEnded(new SandboxResult(Termination.Signaled(9)))];
        _runner.WhenAny().Streams(events);

        List<SandboxEvent> read = [];
        await foreach (SandboxEvent item in _runner.StreamAsync(new SandboxRequest("a", "b"), Cancel))
        {
            read.Add(item);
        }

        Assert.Equal(events, read);
        Assert.Equal(137, (await _runner.RunAsync(new SandboxRequest("a", "b"), Cancel)).ExitCode);
    }

    [Fact]
    public async Task Streams_can_fail_after_some_output()
    {
        _runner.WhenAny().Streams((request, _) => Failing(request));
        StringWriter stdout = new();

        await Assert.ThrowsAsync<SandboxRuntimeException>(() => _runner.StreamAsync(new SandboxRequest("a", "b"), Cancel).CopyToAsync(stdout, TextWriter.Null, Cancel));

        Assert.Equal("a", stdout.ToString());

        static async IAsyncEnumerable<SandboxEvent> Failing(SandboxRequest request)
        {
            await Task.Yield();
            yield return new SandboxDataReceived(SandboxStream.StandardOutput, request.Image);
            throw new SandboxRuntimeException("broke");
        }
    }

    [Fact]
    public async Task A_run_can_wait_for_its_cancellation()
    {
        _runner.WhenAny().Returns(async (_, cancellationToken) =>
        {
            await Task.Delay(Timeout.Infinite, cancellationToken);
            return new SandboxResult(Termination.Exited(0));
        });
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);

        Task<SandboxResult> run = _runner.RunAsync(new SandboxRequest("a", "b"), stop.Token);
        Assert.False(run.IsCompleted);
        await stop.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => run);
    }

    [Fact]
    public async Task Requests_are_copies_whose_contents_stay_readable_after_the_call()
    {
        _runner.WhenAny().Returns("");
        int opened = 0;
        SandboxRequest request = new("a", "b")
        {
            Environment = { ["A"] = "1" },
            Files = [SandboxFile.FromStream("once", _ => new(new MemoryStream(opened++ == 0 ? "content"u8.ToArray() : [])))],
            Workspace = new SandboxWorkspace
            {
                Inputs = [SandboxInput.FromFiles(SandboxFile.FromText("w", "in workspace")), SandboxInput.FromTar("tar"u8.ToArray())],
            },
        };
        request.Files[0].Executable = true;

        await _runner.RunAsync(request, Cancel);
        request.Environment.Clear();
        request.Files.Clear();

        SandboxRequest seen = Assert.Single(_runner.Requests);
        Assert.Equal(("a", "1"), (seen.Image, seen.Environment["A"]));
        Assert.Equal("content", await seen.Files[0].ReadAllTextAsync(Cancel));
        Assert.Equal("content"u8.ToArray(), await seen.Files[0].ReadAllBytesAsync(Cancel));
        Assert.Equal(("once", true), (seen.Files[0].Path, seen.Files[0].Executable));
        Assert.Equal("in workspace", await seen.Workspace!.Inputs[0].Files[0].ReadAllTextAsync(Cancel));
        await using Stream tar = await seen.Workspace.Inputs[1].OpenReadAsync(Cancel);
        Assert.Equal(3, tar.Length);
    }

    [Fact]
    public async Task An_answer_gets_the_contents_and_cannot_change_the_record()
    {
        _runner.WhenAny().Returns(async (request, cancellationToken) =>
        {
            string text = await request.Files[0].ReadAllTextAsync(cancellationToken);
            request.Files.Clear();
            return new SandboxResult(Termination.Exited(0)) { StandardOutput = text };
        });

        SandboxResult result = await _runner.RunAsync(new SandboxRequest("a", "b") { Files = [SandboxFile.FromText("f", "content")] }, Cancel);

        Assert.Equal("content", result.StandardOutput);
        Assert.Single(_runner.Requests[0].Files);
    }

    [Fact]
    public async Task A_request_without_an_answer_is_an_error_and_recorded()
    {
        Assert.Contains("it has no answers", (await MismatchAsync()).Message, StringComparison.Ordinal);
        _runner.WhenImage("python:3").Returns("");
        _runner.WhenCommand("git", "clone").Returns("");
        _runner.When(request => request.Network == "host").Returns("");

        string message = (await MismatchAsync()).Message;

        Assert.Contains("'debian:12: ls -l (network none, 1 variables, 0 files)'", message, StringComparison.Ordinal);
        Assert.Contains("image python:3; command git clone; request => request.Network == \"host\"", message, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", message, StringComparison.Ordinal);
        Assert.Equal(2, _runner.Requests.Count);

        Task<InvalidOperationException> MismatchAsync() => Assert.ThrowsAsync<InvalidOperationException>(
            () => _runner.RunAsync(new SandboxRequest("debian:12", "ls", "-l") { Environment = { ["KEY"] = "secret" } }, Cancel));
    }

    [Fact]
    public async Task Events_without_SandboxEnded_are_an_error()
    {
        _runner.WhenAny().Streams(new SandboxStarted("boxer-1"));

        InvalidOperationException failure = await Assert.ThrowsAsync<InvalidOperationException>(() => _runner.RunAsync(new SandboxRequest("a", "b"), Cancel));

        Assert.Contains("SandboxEnded", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Concurrent_runs_are_all_recorded()
    {
        _runner.WhenAny().Returns(async (request, _) =>
        {
            await Task.Yield();
            return new SandboxResult(Termination.Exited(0)) { StandardOutput = request.Command[0] };
        });

        SandboxResult[] results = await Task.WhenAll(Enumerable.Range(0, 200).Select(i => Task.Run(() => _runner.RunAsync(new SandboxRequest("a", $"{i}"), Cancel), Cancel)));

        Assert.Equal(Enumerable.Range(0, 200).Select(i => $"{i}"), results.Select(result => result.StandardOutput));
        Assert.Equal(200, _runner.Requests.Select(request => request.Command[0]).Distinct().Count());
    }
}
