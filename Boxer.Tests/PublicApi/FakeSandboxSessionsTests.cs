using System.Formats.Tar;
using System.Text;
using Boxer.Networking;
using Boxer.Testing;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.PublicApi.Tests;

/// <summary>The fake sessions of Boxer.Testing, as tests of applications use them.</summary>
public sealed class FakeSandboxSessionsTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Commands_get_the_last_matching_answer_and_are_recorded()
    {
        FakeSandboxSessions sessions = new();
        sessions.WhenAny().Returns("any");
        sessions.WhenCommand("git", "clone").Returns("cloned");
        sessions.When(command => command.User == "root").Returns(new SandboxResult(Termination.Exited(3)) { StandardError = "no" });
        await using IOwnedSandboxSession session = await sessions.OpenAsync(new SandboxSessionRequest("python:3.12-slim"), Token);

        Assert.Equal("any", (await session.ExecAsync("git", "status")).StandardOutput);
        Assert.Equal("cloned", (await session.ExecAsync("git", "clone", "x")).StandardOutput);
        SandboxResult failed = await session.ExecAsync(new SandboxCommand("git", "clone") { User = "root", KeepStandardOutput = false }, Token);

        Assert.Equal((3, ""), (failed.ExitCode, failed.StandardError));
        Assert.Equal(["git status", "git clone x", "git clone"], sessions.Sessions.Single().Commands.Select(command => string.Join(' ', command.Command)));
    }

    [Fact]
    public async Task ReadNetworkAsync_returns_the_report_of_the_test_until_the_end()
    {
        FakeSandboxSessions sessions = new();
        await using IOwnedSandboxSession session = await sessions.OpenAsync(new SandboxSessionRequest("a"), Token);
        Assert.Same(NetworkReport.None, await session.ReadNetworkAsync(Token));
        sessions.Sessions.Single().Network = new NetworkReport { BytesIn = 7 };
        await session.PauseAsync(Token);

        Assert.Equal(7, (await session.ReadNetworkAsync(Token)).BytesIn);
        await session.CloseAsync(Token);
        await Assert.ThrowsAsync<SandboxSessionEndedException>(() => session.ReadNetworkAsync(Token));
    }

    [Fact]
    public async Task A_command_without_an_answer_says_which_answers_there_are()
    {
        FakeSandboxSessions sessions = new();
        await using IOwnedSandboxSession session = await sessions.OpenAsync(new SandboxSessionRequest("a"), Token);
        Assert.Contains("it has no answers", (await Assert.ThrowsAsync<InvalidOperationException>(() => session.ExecAsync("x"))).Message, StringComparison.Ordinal);

        sessions.WhenCommand("ls").Returns("");

        Assert.Contains("It has answers for: command ls.", (await Assert.ThrowsAsync<InvalidOperationException>(() => session.ExecAsync("x"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Answers_can_change_files_throw_and_wait_for_cancellation()
    {
        FakeSandboxSessions sessions = new();
        sessions.WhenCommand("touch").Returns((session, command) =>
        {
            session.Files.WriteAsync(command.Command[1], "", cancellationToken: Token).GetAwaiter().GetResult();
            return new SandboxResult(Termination.Exited(0)) { LeftBehind = 2 };
        });
        sessions.WhenCommand("sleep").Returns(async (_, _, cancellationToken) =>
        {
            await Task.Delay(Timeout.Infinite, cancellationToken);
            return new SandboxResult(Termination.Exited(0));
        });
        sessions.WhenCommand("bad").Throws(new SandboxRuntimeException("broken"));
        await using IOwnedSandboxSession session = await sessions.OpenAsync(new SandboxSessionRequest("alpine:3"), Token);

        Assert.Equal(2, (await session.ExecAsync("touch", "a")).LeftBehind);
        Assert.NotNull(await session.Files.StatAsync("a", Token));
        Assert.Equal("alpine:3", (await Assert.ThrowsAsync<SandboxRuntimeException>(() => session.ExecAsync("bad"))).Image);
        await Assert.ThrowsAsync<SandboxRuntimeException>(() => session.StartAsync("bad"));
        using CancellationTokenSource cancelled = new();
        Task<SandboxResult> sleeping = session.ExecAsync(new SandboxCommand("sleep"), cancelled.Token);
        Assert.Equal(SandboxSessionState.Running, session.State);
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => sleeping);
        Assert.Equal(SandboxSessionState.Idle, session.State);
    }

    [Fact]
    public async Task StreamAsync_yields_the_output_and_the_result()
    {
        FakeSandboxSessions sessions = new();
        sessions.WhenAny().Returns(new SandboxResult(Termination.Exited(0)) { StandardOutput = "out", StandardError = "err" });
        await using IOwnedSandboxSession session = await sessions.OpenAsync(new SandboxSessionRequest("a"), Token);
        StringWriter standardOutput = new(), standardError = new();

        SandboxResult result = await session.StreamAsync(new SandboxCommand("x"), Token).CopyToAsync(standardOutput, standardError, Token);

        Assert.Equal(("out", "err", "out"), (standardOutput.ToString(), standardError.ToString(), result.StandardOutput));
    }

    [Fact]
    public async Task A_session_that_ends_ends_its_calls_processes_and_watches()
    {
        FakeSandboxSessions sessions = new();
        sessions.WhenAny().Returns((_, _, _) => new TaskCompletionSource<SandboxResult>().Task);
        var session = (FakeSandboxSession)await sessions.OpenAsync(new SandboxSessionRequest("a"), Token);
        ISandboxProcess process = await session.StartAsync("server");
        Task<SandboxResult> call = session.ExecAsync("x");
        Task watch = Task.Run(
            async () =>
            {
                await foreach (SandboxFileChange _ in session.Files.WatchAsync("/", Token))
                {
                }
            },
            Token);

        session.EndWith(SandboxSessionEnd.MemoryLimit);

        SandboxSessionEndedException thrown = await Assert.ThrowsAsync<SandboxSessionEndedException>(() => call);
        Assert.Equal((session.Id, SandboxSessionEnd.MemoryLimit), (thrown.SessionId, thrown.End));
        await Assert.ThrowsAsync<SandboxSessionEndedException>(() => watch);
        Assert.Equal(TerminationKind.SandboxDied, (await process.WaitAsync(Token)).Termination.Kind);
        await Assert.ThrowsAsync<SandboxSessionEndedException>(() => session.Files.ReadAllTextAsync("a", cancellationToken: Token));
        Assert.Equal((SandboxSessionState.Ended, SandboxSessionEnd.MemoryLimit, null), (session.State, session.End, session.ExpiresAt));

        await session.CloseAsync(Token);
        Assert.Equal(SandboxSessionEnd.MemoryLimit, session.End);
    }

    [Fact]
    public async Task Sessions_are_found_and_listed_by_key()
    {
        FakeSandboxSessions sessions = new();
        IOwnedSandboxSession a = await sessions.OpenAsync(new SandboxSessionRequest("i") { FairnessKey = "a", Labels = { ["chat"] = "7" } }, Token);
        ISandboxSession b = await sessions.OpenAsync(new SandboxSessionRequest("i") { FairnessKey = "b" }, Token);

        Assert.Equal([a, b], await sessions.ListAsync(cancellationToken: Token));
        Assert.Equal([b], await sessions.ListAsync("b", Token));
        Assert.Same(a, await sessions.FindAsync(a.Id, Token));
        Assert.Null(await sessions.FindAsync("other", Token));
        Assert.Equal("7", a.Labels["chat"]);
        Assert.Matches("^[a-z0-9]{20,57}$", a.Id);

        await a.DisposeAsync();

        Assert.Equal([b], await sessions.ListAsync(cancellationToken: Token));
        Assert.Equal(SandboxSessionEnd.Closed, (await sessions.FindAsync(a.Id, Token))!.End);
    }

    [Fact]
    public async Task OnOpen_prepares_sessions_or_refuses_them()
    {
        FakeSandboxSessions sessions = new FakeSandboxSessions().OnOpen(session => session.Files.WriteAsync("a", "prepared", cancellationToken: Token));
        await using IOwnedSandboxSession session = await sessions.OpenAsync(new SandboxSessionRequest("i"), Token);
        Assert.Equal("prepared", await session.Files.ReadAllTextAsync("/a", cancellationToken: Token));

        sessions.OnOpen(_ => throw new SandboxCapacityException("full"));

        Assert.Equal("i", (await Assert.ThrowsAsync<SandboxCapacityException>(() => sessions.OpenAsync(new SandboxSessionRequest("i"), Token))).Image);
        Assert.Single(sessions.Sessions);
    }

    [Fact]
    public async Task A_paused_session_refuses_calls_until_it_is_resumed()
    {
        FakeTimeProvider time = new();
        FakeSandboxSessions sessions = new(time);
        sessions.WhenAny().Returns("");
        await using IOwnedSandboxSession session = await sessions.OpenAsync(new SandboxSessionRequest("a") { IdleTimeout = TimeSpan.FromMinutes(1), Lifetime = TimeSpan.FromMinutes(10) }, Token);
        Assert.Equal(time.GetUtcNow() + TimeSpan.FromMinutes(1), session.ExpiresAt);

        await session.PauseAsync(Token);

        Assert.Equal((SandboxSessionState.Paused, null), (session.State, session.ExpiresAt));
        SandboxSessionPausedException thrown = await Assert.ThrowsAsync<SandboxSessionPausedException>(() => session.ExecAsync("x"));
        Assert.Equal((session.Id, true), (thrown.SessionId, thrown.IsRetrySafe));

        await session.ResumeAsync(Token);
        await session.ExecAsync("x");
        await session.ExtendAsync(idleTimeout: TimeSpan.FromHours(1), cancellationToken: Token);
        Assert.Equal((TimeSpan.FromHours(1), session.CreatedAt + TimeSpan.FromMinutes(10)), (session.IdleTimeout, session.ExpiresAt));
    }

    [Fact]
    public async Task A_process_prints_reads_and_ends_as_the_test_says()
    {
        FakeSandboxSessions sessions = new();
        sessions.WhenCommand("sh").Starts(process => process.Print("$ "));
        await using IOwnedSandboxSession session = await sessions.OpenAsync(new SandboxSessionRequest("a"), Token);

        var process = (FakeSandboxProcess)await session.StartAsync(new SandboxCommand("sh") { Terminal = new(80, 24) }, Token);
        await process.Input.WriteAsync("exit\n"u8.ToArray(), Token);
        await process.Input.DisposeAsync();
        await process.ResizeAsync(new SandboxTerminal(120, 40), Token);
        Assert.Equal(("exit\n", new SandboxTerminal(120, 40), SandboxSessionState.Running), (await new StreamReader(process.ReceivedInput).ReadToEndAsync(Token), process.Terminal, session.State));
        process.Print(SandboxStream.StandardError, "bye");
        process.Exit(4);
        process.Print("late");

        List<SandboxProcessEvent> events = await process.EventsAsync(cancellationToken: Token).ToListAsync(Token);
        Assert.Equal(["StandardOutput from 0: 2 bytes", "StandardError from 2: 3 bytes", "ended: exited with code 4"], events.Select(item => $"{item}"));
        List<SandboxProcessEvent> rest = await process.EventsAsync(3, Token).ToListAsync(Token);
        Assert.Equal((3, "ye", 5), ((SandboxProcessOutput)rest[0] is var output ? (output.Offset, Encoding.UTF8.GetString(output.Data.Span), output.EndOffset) : default));
        Assert.Equal((4, SandboxSessionState.Idle), (process.End!.Termination.ExitCode, session.State));
        Assert.Equal([process], session.Processes);
    }

    [Fact]
    public async Task Events_arrive_while_the_process_lives()
    {
        FakeSandboxSessions sessions = new();
        await using IOwnedSandboxSession session = await sessions.OpenAsync(new SandboxSessionRequest("a"), Token);
        var process = (FakeSandboxProcess)await session.StartAsync("server");
        await using IAsyncEnumerator<SandboxProcessEvent> events = process.EventsAsync(cancellationToken: Token).GetAsyncEnumerator(Token);
        ValueTask<bool> next = events.MoveNextAsync();
        Assert.False(next.IsCompleted);

        process.Print("ready");

        Assert.True(await next);
        Assert.Equal("ready", Encoding.UTF8.GetString(((SandboxProcessOutput)events.Current).Data.Span));
        await process.DisposeAsync();
        Assert.True(await events.MoveNextAsync());
        Assert.Equal(9, ((SandboxProcessEnded)events.Current).End.Termination.Signal);
        Assert.False(await events.MoveNextAsync());
    }

    [Fact]
    public async Task Signals_end_a_process_unless_the_test_handles_them()
    {
        FakeSandboxSessions sessions = new();
        sessions.WhenCommand("stubborn").Starts(process => process.OnSignal = (self, signal) => self.Print($"got {signal}"));
        await using IOwnedSandboxSession session = await sessions.OpenAsync(new SandboxSessionRequest("a"), Token);
        var usual = (FakeSandboxProcess)await session.StartAsync("usual");
        var stubborn = (FakeSandboxProcess)await session.StartAsync("stubborn");

        await usual.SignalAsync(10, Token);
        Assert.Null(usual.End);
        await usual.SignalAsync(15, Token);
        await stubborn.SignalAsync(15, Token);
        Assert.Null(stubborn.End);
        await stubborn.SignalAsync(9, Token);

        Assert.Equal((15, 9), (usual.End!.Termination.Signal, stubborn.End!.Termination.Signal));
        Assert.Equal([10, 15], usual.Signals);
        await Assert.ThrowsAsync<InvalidOperationException>(() => stubborn.ResizeAsync(new(1, 1), Token));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => stubborn.SignalAsync(65, Token));
    }

    [Fact]
    public async Task Connections_reach_the_listener_of_the_test()
    {
        FakeSandboxSessions sessions = new FakeSandboxSessions().OnOpen(session => session.Listen(80, async connection =>
        {
            using StreamReader reader = new(connection, leaveOpen: true);
            await connection.WriteAsync(Encoding.UTF8.GetBytes($"hello {await reader.ReadToEndAsync(Token)}"), Token);
        }));
        await using IOwnedSandboxSession session = await sessions.OpenAsync(new SandboxSessionRequest("a"), Token);

        await using SandboxConnection connection = await session.ConnectAsync(80, Token);
        await connection.WriteAsync("you"u8.ToArray(), Token);
        await connection.CloseWriteAsync(Token);

        Assert.Equal("hello you", await new StreamReader(connection).ReadToEndAsync(Token));
        SandboxConnectionException refused = await Assert.ThrowsAsync<SandboxConnectionException>(() => session.ConnectAsync(81, Token));
        Assert.Equal((81, "Nothing listens on port 81 of the sandbox."), (refused.Port, refused.PublicMessage));
    }

    [Fact]
    public async Task Files_of_the_request_are_there_and_relative_paths_start_at_the_workspace()
    {
        using MemoryStream tar = new();
        await using (TarWriter writer = new(tar, leaveOpen: true))
        {
            await writer.WriteEntryAsync(new PaxTarEntry(TarEntryType.RegularFile, "sub/b") { DataStream = new MemoryStream("tar"u8.ToArray()) }, Token);
        }

        FakeSandboxSessions sessions = new();
        await using IOwnedSandboxSession session = await sessions.OpenAsync(
            new SandboxSessionRequest("i") { Files = { SandboxFile.FromText("etc/a", "root") }, Workspace = new() { Inputs = { SandboxInput.FromFiles(SandboxFile.FromText("a", "work")), SandboxInput.FromTar(tar.ToArray()) } } },
            Token);

        Assert.Equal("root", await session.Files.ReadAllTextAsync("/etc/a", cancellationToken: Token));
        Assert.Equal("work", await session.Files.ReadAllTextAsync("a", cancellationToken: Token));
        Assert.Equal("tar", await session.Files.ReadAllTextAsync("/workspace/sub/b", cancellationToken: Token));
        Assert.Equal(["a", "sub"], (await session.Files.ListAsync(".", cancellationToken: Token)).Entries.Select(entry => entry.Path));
        Assert.Equal(["a", "sub", "sub/b"], (await session.Files.ListAsync(".", 2, Token)).Entries.Select(entry => entry.Path));
    }

    [Fact]
    public async Task Files_are_written_moved_removed_and_archived()
    {
        FakeSandboxSessions sessions = new();
        await using IOwnedSandboxSession session = await sessions.OpenAsync(new SandboxSessionRequest("i"), Token);
        ISandboxFiles files = session.Files;

        await files.WriteAsync("d/a", "one", UnixFileMode.UserRead, Token);
        await files.WriteAsync("d/a", new byte[] { 1, 2 }, cancellationToken: Token);
        await files.MakeDirectoryAsync("d/sub", Token);
        SandboxFileInfo info = (await files.StatAsync("d/a", Token))!;
        Assert.Equal((SandboxFileType.File, 2, UnixFileMode.UserRead, null), (info.Type, info.Size, info.Mode, info.LinkTarget));
        Assert.Null(await files.StatAsync("d/b", Token));

        await using (Stream archive = await files.ReadArchiveAsync("d", Token))
        {
            await files.WriteArchiveAsync("copy", archive, Token);
        }

        await files.MoveAsync("d/a", "b", Token);
        await files.RemoveAsync("d", Token);

        Assert.Equal(["b", "copy", "copy/a", "copy/sub"], (await files.ListAsync("/", 2, Token)).Entries.Select(entry => entry.Path));
        Assert.Equal([1, 2], await files.ReadAllBytesAsync("copy/a", cancellationToken: Token));
    }

    [Fact]
    public async Task Failures_of_files_have_their_reason()
    {
        FakeSandboxSessions sessions = new();
        await using IOwnedSandboxSession session = await sessions.OpenAsync(new SandboxSessionRequest("i"), Token);
        ISandboxFiles files = session.Files;
        await files.WriteAsync("a", "12345", cancellationToken: Token);
        await files.MakeDirectoryAsync("d", Token);

        async Task<SandboxFileError> ReasonOf(Func<Task> action)
        {
            SandboxFileException thrown = await Assert.ThrowsAsync<SandboxFileException>(action);
            Assert.StartsWith(thrown.Path, thrown.PublicMessage, StringComparison.Ordinal);
            return thrown.Reason;
        }

        Assert.Equal(SandboxFileError.NotFound, await ReasonOf(() => files.ReadAllTextAsync("b", cancellationToken: Token)));
        Assert.Equal(SandboxFileError.TooLarge, await ReasonOf(() => files.ReadAllTextAsync("a", 4, Token)));
        Assert.Equal(SandboxFileError.IsADirectory, await ReasonOf(() => files.OpenReadAsync("d", Token)));
        Assert.Equal(SandboxFileError.IsADirectory, await ReasonOf(() => files.WriteAsync("d", "", cancellationToken: Token)));
        Assert.Equal(SandboxFileError.NotADirectory, await ReasonOf(() => files.WriteAsync("a/b", "", cancellationToken: Token)));
        Assert.Equal(SandboxFileError.NotADirectory, await ReasonOf(() => files.ListAsync("a", cancellationToken: Token)));
        Assert.Equal(SandboxFileError.AlreadyExists, await ReasonOf(() => files.MoveAsync("a", "d", Token)));
        Assert.Equal(SandboxFileError.NotFound, await ReasonOf(() => files.RemoveAsync("b", Token)));
        await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => files.StatAsync("../x", Token));
        Assert.Equal("12345", await files.ReadAllTextAsync("a", 5, Token));
    }

    [Fact]
    public async Task WatchAsync_reports_changes_below_the_directory()
    {
        FakeSandboxSessions sessions = new();
        await using IOwnedSandboxSession session = await sessions.OpenAsync(new SandboxSessionRequest("i"), Token);
        await session.Files.MakeDirectoryAsync("d/sub", Token);
        await using IAsyncEnumerator<SandboxFileChange> changes = session.Files.WatchAsync("d", Token).GetAsyncEnumerator(Token);
        Assert.True(await changes.MoveNextAsync());
        Assert.Equal(new SandboxFileChange(SandboxFileChangeKind.Started, ""), changes.Current);
        ValueTask<bool> first = changes.MoveNextAsync();

        await session.Files.WriteAsync("unseen", "", cancellationToken: Token);
        await session.Files.WriteAsync("d/sub/b", "", cancellationToken: Token);
        await session.Files.WriteAsync("d/a", "1", cancellationToken: Token);
        await session.Files.WriteAsync("d/a", "2", cancellationToken: Token);
        await session.Files.RemoveAsync("d/a", Token);

        Assert.True(await first);
        Assert.Equal(new SandboxFileChange(SandboxFileChangeKind.Created, "sub/b"), changes.Current);
        Assert.True(await changes.MoveNextAsync());
        Assert.Equal(new SandboxFileChange(SandboxFileChangeKind.Created, "a"), changes.Current);
        Assert.True(await changes.MoveNextAsync());
        Assert.Equal(new SandboxFileChange(SandboxFileChangeKind.Changed, "a"), changes.Current);
        Assert.True(await changes.MoveNextAsync());
        Assert.Equal("Deleted: a", $"{changes.Current}");
    }
}
