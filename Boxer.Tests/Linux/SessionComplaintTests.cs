using Boxer.Hosting;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>Complaints that users of other products have about their sessions, each as a test of the C# interfaces.</summary>
[Collection(Sandboxes.Name)]
public sealed class SessionComplaintTests(SharedRunner shared) : IAsyncLifetime
{
    // A call that hangs fails the test, also on a busy machine.
    private static readonly TimeSpan Hangs = TimeSpan.FromMinutes(2);
    private SandboxRunner? _runner;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private SandboxRunner Runner => _runner!;

    public async ValueTask InitializeAsync()
    {
        await shared.PullAsync();
        _runner = SandboxRunnerFactory.Create(shared.Options);
    }

    public ValueTask DisposeAsync() => _runner?.DisposeAsync() ?? ValueTask.CompletedTask;

    [Fact]
    public async Task Background_children_that_hold_the_pipes_do_not_hang_a_call()
    {
        await using IOwnedSandboxSession session = await OpenAsync();
        SandboxResult exec = await session.ExecAsync(Shell("sleep 1000 & (sleep 1000; echo late) & echo done"), Cancel).WaitAsync(Hangs, Cancel);
        await using ISandboxProcess process = await session.StartAsync(Shell("sleep 1000 & echo done"), Cancel);
        SandboxProcessEnd end = await process.WaitAsync(Cancel).WaitAsync(Hangs, Cancel);

        Assert.Equal(("done\n", 0), (exec.StandardOutput, exec.ExitCode));
        Assert.InRange(exec.LeftBehind, 2, 3);
        Assert.Equal((0, 1), (end.Termination.ExitCode, end.LeftBehind));
        Assert.Equal("done\n", await SaidAsync(process));

        // The children live on, and further calls work.
        Assert.NotEqual("0\n", (await session.ExecAsync(Python("import os; print(sum(b'sleep' in open('/proc/%s/cmdline' % p, 'rb').read() for p in os.listdir('/proc') if p.isdigit()))"), Cancel)).StandardOutput);
    }

    [Fact]
    public async Task Heredocs_work_and_standard_input_that_is_left_open_does_not_hang_a_call()
    {
        await using IOwnedSandboxSession session = await OpenAsync();
        var open = new SandboxCommand("true") { StandardInputStream = new NeverEndingStream() };

        Assert.Equal("one\n$two\n", (await session.ExecAsync(Shell("cat <<'EOF'\none\n$two\nEOF\n"), Cancel).WaitAsync(Hangs, Cancel)).StandardOutput);
        Assert.Equal("4\n", (await session.ExecAsync(Shell("python3 - <<'EOF'\nprint(2 + 2)\nEOF\n"), Cancel).WaitAsync(Hangs, Cancel)).StandardOutput);
        Assert.Equal(("", 0), ((await session.ExecAsync(new SandboxCommand("cat"), Cancel).WaitAsync(Hangs, Cancel)).StandardOutput, 0));
        Assert.Equal(0, (await session.ExecAsync(open, Cancel).WaitAsync(Hangs, Cancel)).ExitCode);

        // The input of a process stays open until its end is sent.
        await using ISandboxProcess process = await session.StartAsync(Shell("read line; echo \"$line\"; cat >/dev/null; echo end"), Cancel);
        await process.Input.WriteAsync("typed\n"u8.ToArray(), Cancel);
        await process.Input.DisposeAsync();
        Assert.Equal(0, (await process.WaitAsync(Cancel).WaitAsync(Hangs, Cancel)).Termination.ExitCode);
        Assert.Equal("typed\nend\n", await SaidAsync(process));
    }

    [Fact]
    public async Task A_session_does_not_end_before_its_time()
    {
        Task reading = ReadAsync();
        await using IOwnedSandboxSession session = await OpenAsync(request => request.IdleTimeout = TimeSpan.FromSeconds(2));

        // Three times the idle timeout, in one call.
        Assert.Equal("still here\n", (await session.ExecAsync(Shell("sleep 6; echo still here"), Cancel)).StandardOutput);
        Assert.Null(session.End);

        // It ends at the time that it announces, and not before.
        DateTimeOffset? expiresAt = session.ExpiresAt;
        Assert.NotNull(expiresAt);
        await Until.IsSoAsync(() => session.End is not null, 60);
        Assert.Equal(SandboxSessionEnd.IdleTimeout, session.End);
        Assert.True(DateTimeOffset.UtcNow >= expiresAt.Value - TimeSpan.FromMilliseconds(50), $"ended before {expiresAt}");
        await reading;

        // A reader that is attached is a call, too.
        async Task ReadAsync()
        {
            await using IOwnedSandboxSession other = await OpenAsync(request => request.IdleTimeout = TimeSpan.FromSeconds(2));
            await using ISandboxProcess process = await other.StartAsync(Shell("sleep 6; echo still here"), Cancel);
            Assert.Equal("still here\n", await SaidAsync(process));
            Assert.Null(other.End);
        }
    }

    [Fact]
    public async Task Each_timeout_ends_what_it_is_for_and_says_which_it_was()
    {
        await using IOwnedSandboxSession session = await OpenAsync();
        await using ISandboxProcess server = await session.StartAsync(Shell("sleep 1000"), Cancel);
        var late = new SandboxCommand("sleep", "1000") { Limits = new() { WallClock = TimeSpan.FromSeconds(1) } };
        var busy = new SandboxCommand("sh", "-c", "while :; do :; done") { Limits = new() { CpuTime = TimeSpan.FromSeconds(1) } };
        using var cancelled = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        cancelled.CancelAfter(TimeSpan.FromSeconds(1));

        // Limits of a command, and cancelling one, end the command alone.
        Task<SandboxResult> ended = session.ExecAsync(late, Cancel);
        Task<SandboxResult> used = session.ExecAsync(busy, Cancel);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => session.ExecAsync(Shell("sleep 1000"), cancelled.Token));
        Assert.Equal((TerminationKind.WallClockLimit, TerminationKind.CpuTimeLimit), ((await ended).Termination.Kind, (await used).Termination.Kind));
        Assert.Equal("alive\n", (await session.ExecAsync(Shell("echo alive"), Cancel)).StandardOutput);
        Assert.Null(session.End);
        Assert.Null(server.End);

        // Timeouts of a session end the session, also during a call.
        await using IOwnedSandboxSession idle = await OpenAsync(request => request.IdleTimeout = TimeSpan.FromSeconds(1));
        await using IOwnedSandboxSession shortLived = await OpenAsync(request => request.Lifetime = TimeSpan.FromSeconds(3));
        SandboxSessionEndedException duringCall = await Assert.ThrowsAsync<SandboxSessionEndedException>(() => shortLived.ExecAsync(Shell("sleep 1000"), Cancel));
        SandboxSessionEndedException afterwards = await Assert.ThrowsAsync<SandboxSessionEndedException>(() => shortLived.ExecAsync(Shell("true"), Cancel));
        await Until.IsSoAsync(() => idle.End is not null, 60);
        SandboxSessionEndedException tooLate = await Assert.ThrowsAsync<SandboxSessionEndedException>(() => idle.ExecAsync(Shell("true"), Cancel));

        Assert.Equal([SandboxSessionEnd.Lifetime, SandboxSessionEnd.Lifetime, SandboxSessionEnd.IdleTimeout], new[] { duringCall.End, afterwards.End, tooLate.End });
    }

    [Fact]
    public async Task Every_stream_says_so_if_the_sandbox_dies()
    {
        string[] others = OwnTraces.Sandboxes();
        await using IOwnedSandboxSession session = await OpenAsync();
        string sandbox = Assert.Single(OwnTraces.Sandboxes().Except(others, StringComparer.Ordinal));
        await using ISandboxProcess process = await session.StartAsync(Shell("echo up; sleep 1000"), Cancel);
        await using ISandboxProcess server = await session.StartAsync(Python("import socket; s = socket.create_server(('127.0.0.1', 8000)); print('up', flush=True); c = s.accept(); s.accept()"), Cancel);
        await ReadOneAsync(server);
        await using SandboxConnection connection = await session.ConnectAsync(8000, Cancel);
        await session.Files.WriteAsync("/tmp/file", new byte[8 << 20], mode: null, Cancel);
        await using Stream file = await session.Files.OpenReadAsync("/tmp/file", Cancel);
        await using Stream archive = await session.Files.ReadArchiveAsync("/tmp", Cancel);
        await using IAsyncEnumerator<SandboxFileChange> watch = session.Files.WatchAsync("/tmp", Cancel).GetAsyncEnumerator(Cancel);
        Assert.True(await watch.MoveNextAsync());
        Assert.Equal(SandboxFileChangeKind.Started, watch.Current.Kind);
        Task<bool> change = watch.MoveNextAsync().AsTask();
        Task<string> events = SaidAsync(process);
        SandboxEvent? last = null;
        await foreach (SandboxEvent item in session.StreamAsync(Shell("echo up; sleep 1000"), Cancel))
        {
            last = item;
            if (item is SandboxDataReceived)
            {
                Assert.Equal(0, Native.Signal.kill(OwnTraces.FindProcess(sandbox, "runsc-sandbox")!.Value, Native.Signal.SIGKILL));
            }
        }

        Assert.Equal((TerminationKind.SandboxDied, "up\n"), last is SandboxEnded { Result: var result } ? (result.Termination.Kind, result.StandardOutput) : default);
        Assert.Equal("up\n", await events.WaitAsync(Hangs, Cancel));
        Assert.Equal(TerminationKind.SandboxDied, process.End!.Termination.Kind);
        await Assert.ThrowsAnyAsync<IOException>(async () => await connection.ReadExactlyAsync(new byte[1], Cancel).AsTask().WaitAsync(Hangs, Cancel));
        await Assert.ThrowsAnyAsync<IOException>(() => file.CopyToAsync(Stream.Null, Cancel).WaitAsync(Hangs, Cancel));
        await Assert.ThrowsAnyAsync<IOException>(() => archive.CopyToAsync(Stream.Null, Cancel).WaitAsync(Hangs, Cancel));
        Assert.Equal(SandboxSessionEnd.SandboxDied, (await Assert.ThrowsAsync<SandboxSessionEndedException>(() => change.WaitAsync(Hangs, Cancel))).End);
        Assert.Equal(SandboxSessionEnd.SandboxDied, session.End);
        Assert.Equal(SandboxSessionEnd.SandboxDied, (await Assert.ThrowsAsync<SandboxSessionEndedException>(() => session.ExecAsync(Shell("true"), Cancel))).End);
    }

    [Fact]
    public async Task Lists_do_not_grow()
    {
        const int Sessions = 10;
        const int Processes = 105;
        const int KeptProcesses = 100;
        for (int i = 0; i < Sessions; i++)
        {
            await using IOwnedSandboxSession one = await OpenAsync();
            Assert.Single(await Runner.ListAsync(cancellationToken: Cancel));
        }

        Assert.Empty(await Runner.ListAsync(cancellationToken: Cancel));
        await using IOwnedSandboxSession session = await OpenAsync();
        for (int i = 0; i < Processes; i++)
        {
            await (await session.StartAsync(new SandboxCommand("true"), Cancel)).WaitAsync(Cancel);
        }

        Assert.InRange(session.Processes.Count, 1, KeptProcesses);
        await session.ExecAsync(Python("import os; os.mkdir('/tmp/d'); [open('/tmp/d/%d' % i, 'w').close() for i in range(10500)]"), Cancel);
        SandboxFileList list = await session.Files.ListAsync("/tmp/d", cancellationToken: Cancel);
        Assert.Equal((10_000, true), (list.Entries.Count, list.IsIncomplete));
    }

    [Fact]
    public async Task A_forgotten_session_uses_no_processor_time_and_ends()
    {
        const int Seconds = 5;
        await using IOwnedSandboxSession session = await OpenAsync();
        SandboxResult started = await session.ExecAsync(Shell("while :; do :; done & echo started"), Cancel);
        await Until.IsSoAsync(() => session.State == SandboxSessionState.Idle && SandboxCgroups.AreFrozen(), 60);
        TimeSpan before = SandboxCgroups.ProcessorTime();
        await Task.Delay(TimeSpan.FromSeconds(Seconds), Cancel);

        // The busy loop that the command left behind is frozen with the session.
        Assert.Equal(1, started.LeftBehind);
        Assert.InRange(SandboxCgroups.ProcessorTime() - before, TimeSpan.Zero, TimeSpan.FromMilliseconds(10));
        await session.ExtendAsync(idleTimeout: TimeSpan.FromSeconds(1), cancellationToken: Cancel);
        await Until.IsSoAsync(() => session.End is not null, 120);
        Assert.Equal(SandboxSessionEnd.IdleTimeout, session.End);
    }

    [Fact]
    public async Task The_environment_of_one_command_is_not_seen_by_another_or_in_lists()
    {
        const string Secret = "sk-secret-of-one-command";
        await using IOwnedSandboxSession session = await OpenAsync(request => request.User = "1000");
        SandboxCommand owner = Shell("sleep 1000");
        owner.Environment["TOKEN"] = Secret;
        await using ISandboxProcess process = await session.StartAsync(owner, Cancel);
        var others = new SandboxCommand("env") { User = "1001", WorkingDirectory = "/" };
        string seen = (await session.ExecAsync(others, Cancel)).StandardOutput + (await session.ExecAsync(Shell("env"), Cancel)).StandardOutput;
        ISandboxSession? found = await Runner.FindAsync(session.Id, Cancel);
        string listed = string.Join('\n', (await Runner.ListAsync(cancellationToken: Cancel)).Append(found).SelectMany(Describe));

        Assert.DoesNotContain(Secret, seen, StringComparison.Ordinal);
        Assert.Contains("sleep 1000", listed, StringComparison.Ordinal);
        Assert.DoesNotContain(Secret, listed, StringComparison.Ordinal);

        static IEnumerable<string> Describe(ISandboxSession? session) =>
            [$"{session}", .. session!.Labels.Select(label => $"{label}"), .. session.Processes.Select(process => $"{process} {string.Join(' ', process.Command)}")];
    }

    private static SandboxCommand Shell(string script) => new("sh", "-c", script);

    private static SandboxCommand Python(string program) => new("python3", "-c", program);

    private static async Task ReadOneAsync(ISandboxProcess process)
    {
        await foreach (SandboxProcessEvent item in process.EventsAsync(cancellationToken: Cancel))
        {
            Assert.IsType<SandboxProcessOutput>(item);
            break;
        }
    }

    // Ends with the process.
    private static async Task<string> SaidAsync(ISandboxProcess process)
    {
        List<byte> said = [];
        SandboxProcessEvent? last = null;
        await foreach (SandboxProcessEvent item in process.EventsAsync(cancellationToken: Cancel))
        {
            last = item;
            if (item is SandboxProcessOutput output)
            {
                said.AddRange(output.Data.Span);
            }
        }

        Assert.IsType<SandboxProcessEnded>(last);
        return System.Text.Encoding.UTF8.GetString([.. said]);
    }

    private Task<IOwnedSandboxSession> OpenAsync(Action<SandboxSessionRequest>? change = null)
    {
        var request = new SandboxSessionRequest(PythonImage.Name);
        change?.Invoke(request);
        return Runner.OpenAsync(request, Cancel);
    }
}
