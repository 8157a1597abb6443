using System.Net.Sockets;
using System.Text;
using Boxer.Runtime.Kept;
using Boxer.Tests.Core.Runtime.Init;
using Boxer.Tests.Support;
using static Boxer.Tests.Core.Runtime.Kept.RealGuest;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>Kept sandboxes with the real boxer-init as PID 1 of a real runsc.</summary>
[Slow]
public sealed class KeptSandboxRunTests(InitFixture fixture) : IClassFixture<InitFixture>
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ExecAsync_runs_commands_one_after_another_and_at_once()
    {
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        Assert.Equal(Termination.Exited(0), (await guest.ExecAsync(Command("true"))).End.Termination);
        ExecOutcome outcome = await guest.ExecAsync(Shell("id -u; pwd; echo $HOME; cat; echo err >&2; exit 7") with { WorkingDirectory = "/tmp", Stdin = "in\n"u8.ToArray() });
        Assert.Equal(Termination.Exited(7), outcome.End.Termination);
        Assert.Equal($"{User}\n/tmp\n/home/user\nin\n", Text(outcome.Stdout));
        Assert.Equal("err\n", Text(outcome.Stderr));
        Assert.Equal(TerminationKind.NotStarted, (await guest.ExecAsync(Command("nothing"))).End.Termination.Kind);
        Assert.Equal(Termination.Signaled(15), (await guest.ExecAsync(Shell("kill $$"))).End.Termination);
        Assert.Equal("ab\n", Text((await guest.ExecAsync(Shell("printf a; printf b >&2; echo") with { MergeOutput = true })).Stdout));

        ExecOutcome[] all = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => guest.ExecAsync(Shell($"sleep 0.2; echo {i}"))));
        Assert.Equal(Enumerable.Range(0, 8).Select(i => $"{i}\n"), all.Select(one => Text(one.Stdout)));
    }

    [Fact]
    public async Task ExecAsync_leaves_files_and_background_processes_that_hold_its_pipes()
    {
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        ExecOutcome outcome = await guest.ExecAsync(Shell("sleep 1000 & yes & echo kept >/tmp/a; echo $! >/tmp/pid"));
        Assert.Equal((Termination.Exited(0), 2), (outcome.End.Termination, outcome.End.LeftBehind));
        Assert.Equal("kept\n", Text((await guest.ExecAsync(Command("cat", "/tmp/a"))).Stdout));
        Assert.Equal(Termination.Exited(0), (await guest.ExecAsync(Shell("while kill -0 $(cat /tmp/pid) 2>/dev/null; do sleep 0.05; done"))).End.Termination);
        await guest.AssertProcessesAsync(1);
    }

    [Fact]
    public async Task ExecAsync_ends_with_an_open_input_and_after_a_heredoc()
    {
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        using var endless = new EndlessStream();
        Assert.Equal("a\n", Text((await guest.ExecAsync(Shell("echo a") with { StdinStream = endless })).Stdout));
        Assert.Equal("b\n", Text((await guest.ExecAsync(Shell("cat <<E\nb\nE"))).Stdout));
        Assert.Equal("", Text((await guest.ExecAsync(Command("cat"))).Stdout));
    }

    [Fact]
    public async Task ExecAsync_returns_100_MB_of_output()
    {
        const int Bytes = 100_000_000;
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        ExecOutcome outcome = await guest.ExecAsync(Command("head", "-c", $"{Bytes}", "/dev/zero"));
        Assert.Equal((Termination.Exited(0), Bytes), (outcome.End.Termination, outcome.Stdout.Length));
        outcome = await guest.ExecAsync(Command("yes") with { OutputLimit = 1_000 });
        Assert.Equal((TerminationKind.OutputLimit, 1_000), (outcome.End.Termination.Kind, outcome.Stdout.Length));
    }

    [Fact]
    public async Task ExecAsync_stops_a_command_at_its_limits_with_its_whole_session()
    {
        // The wall clock is long enough for the command to set its trap and to print on a busy machine.
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        ExecPlan stubborn = Shell("trap '' TERM; sleep 1000 & sleep 1000 & echo on; wait; wait") with { WallClock = TimeSpan.FromSeconds(3), StopGrace = TimeSpan.FromSeconds(0.2) };
        ExecOutcome outcome = await guest.ExecAsync(stubborn);
        Assert.Equal((TerminationKind.WallClockLimit, "on\n", 0), (outcome.End.Termination.Kind, Text(outcome.Stdout), outcome.End.LeftBehind));
        outcome = await guest.ExecAsync(Shell("trap 'echo bye; exit 3' TERM; echo on; while :; do sleep 0.05; done") with { WallClock = TimeSpan.FromSeconds(3), StopGrace = TimeSpan.FromSeconds(30) });
        Assert.Equal((TerminationKind.WallClockLimit, "on\nbye\n"), (outcome.End.Termination.Kind, Text(outcome.Stdout)));
        outcome = await guest.ExecAsync(Shell("(while :; do :; done) & wait") with { CpuTime = TimeSpan.FromSeconds(0.3) });
        Assert.Equal((TerminationKind.CpuTimeLimit, 0), (outcome.End.Termination.Kind, outcome.End.LeftBehind));
        Assert.Equal(0, await guest.CountProcessesAsync());
        Assert.False(guest.Sandbox.Ended.IsCompleted);
    }

    [Fact]
    public async Task A_cancelled_ExecAsync_kills_its_command_and_no_other()
    {
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        Task<ExecOutcome> other = guest.ExecAsync(Shell("while [ ! -e /tmp/go ]; do sleep 0.05; done; echo other"));
        using var cancellation = new CancellationTokenSource();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => guest.Sandbox.ExecAsync(
            Shell("sleep 1000 & sleep 1000"), cancellation.Cancel, (_, _) => { }, cancellation.Token));
        Assert.Equal(Termination.Exited(0), (await guest.ExecAsync(Command("touch", "/tmp/go"))).End.Termination);
        Assert.Equal("other\n", Text((await other).Stdout));
        Assert.Equal(0, await guest.CountProcessesAsync());
    }

    [Fact]
    public async Task StartAsync_relays_a_process_in_both_directions()
    {
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        IGuestProcess process = await guest.Sandbox.StartAsync(Shell("echo err >&2; cat; exit 5") with { WallClock = null }, Cancel);
        byte[] input = new byte[3_000_000];
        Random.Shared.NextBytes(input);
        Task writing = Task.Run(
            async () =>
            {
                await process.Input.WriteAsync(input, Cancel);
                await process.Input.DisposeAsync();
            },
            Cancel);
        using var stdout = new MemoryStream();
        using var stderr = new MemoryStream();
        await foreach (GuestOutput output in process.ReadAllAsync(Cancel))
        {
            (output.Stream == SandboxStream.StandardError ? stderr : stdout).Write(output.Data.Span);
        }

        await writing;
        Assert.Equal(Termination.Exited(5), (await process.Ended).Termination);
        Assert.Equal("err\n", Text(stderr.ToArray()));
        Assert.True(stdout.ToArray().AsSpan().SequenceEqual(input));
    }

    [Fact]
    public async Task A_process_that_nobody_reads_stops_no_other()
    {
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        IGuestProcess slow = await guest.Sandbox.StartAsync(Command("yes") with { WallClock = null }, Cancel);
        Assert.Equal(1_000_000, (await guest.ExecAsync(Command("head", "-c", "1000000", "/dev/zero"))).Stdout.Length);
        await slow.KillAsync(Cancel);
        await foreach (GuestOutput output in slow.ReadAllAsync(Cancel))
        {
            Assert.Equal(SandboxStream.StandardOutput, output.Stream);
        }

        Assert.Equal(Termination.Signaled(9), (await slow.Ended).Termination);
    }

    [Fact]
    public async Task StartAsync_with_a_terminal_echoes_and_can_be_interrupted_and_resized()
    {
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        IGuestProcess shell = await guest.Sandbox.StartAsync(Command("sh") with { Terminal = new(100, 30), WallClock = null }, Cancel);
        using var screen = new StringWriter();
        Task reading = Task.Run(
            async () =>
            {
                await foreach (GuestOutput output in shell.ReadAllAsync(Cancel))
                {
                    lock (screen)
                    {
                        screen.Write(Encoding.UTF8.GetString(output.Data.Span));
                    }
                }
            },
            Cancel);
        await shell.Input.WriteAsync("busybox stty size\n"u8.ToArray(), Cancel);
        await UntilShownAsync("30 100");
        await shell.ResizeAsync(new(90, 20), Cancel);

        // The inner shell is in the foreground before and while it sleeps.
        await shell.Input.WriteAsync("busybox stty size; sh -c 'echo rea\"\"dy; sleep 1000'\n"u8.ToArray(), Cancel);
        await UntilShownAsync("20 90");
        await UntilShownAsync("ready");
        await shell.Input.WriteAsync("\u0003exit 4\n"u8.ToArray(), Cancel);
        await reading;
        Assert.Equal(Termination.Exited(4), (await shell.Ended).Termination);

        Task UntilShownAsync(string text) => Until.IsSoAsync(
            () =>
            {
                lock (screen)
                {
                    return screen.ToString().Contains(text, StringComparison.Ordinal);
                }
            },
            30);
    }

    [Fact]
    public async Task ConnectAsync_reaches_a_server_of_the_sandbox()
    {
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        IOException refused = await Assert.ThrowsAsync<IOException>(() => guest.Sandbox.ConnectAsync(8080, Cancel));
        Assert.Equal(SocketError.ConnectionRefused, Assert.IsType<SocketException>(refused.InnerException).SocketErrorCode);
        IGuestProcess server = await guest.Sandbox.StartAsync(Command("busybox", "nc", "-l", "-p", "8080", "-e", "cat") with { WallClock = null }, Cancel);
        await using SandboxConnection connection = await ConnectAsync(guest, 8080);
        byte[] sent = new byte[1_000_000];
        Random.Shared.NextBytes(sent);
        Task writing = Task.Run(
            async () =>
            {
                await connection.WriteAsync(sent, Cancel);
                await connection.CloseWriteAsync(Cancel);
            },
            Cancel);
        using var received = new MemoryStream();
        await connection.CopyToAsync(received, Cancel);
        await writing;
        Assert.True(received.ToArray().AsSpan().SequenceEqual(sent));
        await server.KillAsync(Cancel);
    }

    [Fact]
    public async Task OpenFilesAsync_serves_files_of_the_user_with_one_process()
    {
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        await using IFileWorker files = await guest.Sandbox.OpenFilesAsync(new(User, User, []), Cancel);
        using var content = new MemoryStream("content\n"u8.ToArray());
        await files.WriteAsync("/tmp/d/a", content, mode: null, Cancel);
        Assert.Equal("content\n", Text((await guest.ExecAsync(Command("cat", "/tmp/d/a"))).Stdout));
        await guest.AssertProcessesAsync(1);
        await Assert.ThrowsAsync<GuestFileException>(() => files.RemoveAsync("/etc/hosts", Cancel));
        guest.Sandbox.Kill();
        await files.Ended;
        await Assert.ThrowsAnyAsync<IOException>(() => files.StatAsync("/tmp", Cancel));
    }

    [Fact]
    public async Task A_file_worker_that_the_guest_has_stopped_is_killed_when_its_operation_is_cancelled()
    {
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        await using IFileWorker files = await guest.Sandbox.OpenFilesAsync(new(User, User, []), Cancel);
        Assert.NotNull(await files.StatAsync("/tmp", Cancel));
        await guest.ExecAsync(Shell("kill -STOP -1"));
        using var cancellation = new CancellationTokenSource();
        Task<GuestFile?> asking = files.StatAsync("/tmp", cancellation.Token);
        Assert.Equal("3\n", await CountAsync());
        Assert.False(asking.IsCompleted);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => asking);
        while (await CountAsync() != "2\n")
        {
            await Task.Delay(50, Cancel);
        }

        // PID 1, the worker and the command itself.
        async Task<string> CountAsync() => Text((await guest.ExecAsync(Shell("set -- /proc/[0-9]*; echo $#"))).Stdout);
    }

    [Fact]
    public async Task Hundreds_of_commands_leave_no_descriptor_and_no_process()
    {
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        const int Commands = 200;
        await guest.ExecAsync(Command("true"));
        int before = Descriptors();
        for (int i = 0; i < Commands; i++)
        {
            ExecEnd end = (await guest.ExecAsync(Command("true"))).End;
            Assert.Equal((Termination.Exited(0), 0), (end.Termination, end.LeftBehind));
        }

        // Other tests of this process open and close some meanwhile. Each command has six.
        Assert.InRange(Descriptors() - before, -Commands, Commands);
        Assert.Equal(0, await guest.CountProcessesAsync());

        static int Descriptors() => Directory.GetFiles("/proc/self/fd").Length;
    }

    [Fact]
    public async Task Kill_ends_everything_in_flight()
    {
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        Task<ExecOutcome> running = guest.ExecAsync(Shell("echo on; sleep 1000"));
        IGuestProcess process = await guest.Sandbox.StartAsync(Command("cat") with { WallClock = null }, Cancel);
        guest.Sandbox.Kill();
        Assert.Equal(TerminationKind.SandboxDied, (await running).End.Termination.Kind);
        Assert.Equal(TerminationKind.SandboxDied, (await process.Ended).Termination.Kind);
        Assert.Empty(await process.ReadAllAsync(Cancel).ToArrayAsync(Cancel));
    }

    private static async Task<SandboxConnection> ConnectAsync(RealGuest guest, int port)
    {
        SandboxConnection? connection = null;
        for (int attempt = 0; connection is null; attempt++)
        {
            try
            {
                connection = await guest.Sandbox.ConnectAsync(port, Cancel);
            }
            catch (IOException) when (attempt < 200)
            {
                await Task.Delay(50, Cancel);
            }
        }

        return connection;
    }

    private static string Text(ReadOnlyMemory<byte> bytes) => Encoding.UTF8.GetString(bytes.Span);

    private sealed class EndlessStream : MemoryStream
    {
        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await Task.Delay(Timeout.Infinite, cancellationToken);
            return 0;
        }
    }
}
