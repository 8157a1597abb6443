using System.Net.Sockets;
using System.Text;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;
using Boxer.Tests.Support;
using Microsoft.Extensions.Time.Testing;
using Microsoft.Win32.SafeHandles;
using static Boxer.Tests.Core.Runtime.Init.InitFrames;
using static Boxer.Tests.Core.Runtime.Kept.ScriptedGuest;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>Commands, processes and connections of a kept sandbox, with the test as PID 1.</summary>
public sealed class KeptSandboxTests
{
    private static readonly byte[] NoUsage = [.. U64(0), .. U64(0), .. U64(0)];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ExecAsync_returns_output_usage_and_processes_left_behind()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        bool started = false;
        Task<ExecOutcome> running = guest.Sandbox.ExecAsync(
            Command("cat") with { Stdin = "input"u8.ToArray() }, () => started = true, (_, _) => Assert.True(started), Cancel);
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        Assert.Equal(3, guest.Descriptors);
        await using (FileStream stdin = Open(guest, FileAccess.Read), stdout = Open(guest, FileAccess.Write), stderr = Open(guest, FileAccess.Write))
        {
            await stdout.WriteAsync("out "u8.ToArray(), Cancel);
            await stderr.WriteAsync("err"u8.ToArray(), Cancel);
            await stdout.FlushAsync(Cancel);
            await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
            using var reader = new StreamReader(stdin);
            await stdout.WriteAsync(Encoding.UTF8.GetBytes(await reader.ReadToEndAsync(Cancel)), Cancel);
        }

        await guest.SendAsync(InitFrameType.ProcessEnded, U32(exec.Id), U32(0), U32(3), U64(1_000), U64(500), U64(4096), U32(2), U32(0));
        ExecOutcome outcome = await running;

        Assert.Equal(Termination.Exited(3), outcome.End.Termination);
        Assert.Equal("out input"u8.ToArray(), outcome.Stdout.ToArray());
        Assert.Equal("err"u8.ToArray(), outcome.Stderr.ToArray());
        Assert.Equal((TimeSpan.FromMilliseconds(1.5), 4096L), (outcome.End.Usage.CommandCpu!.Value, outcome.End.Usage.MaxResidentBytes!.Value));
        Assert.Equal(2, outcome.End.LeftBehind);
    }

    [Fact]
    public async Task ExecAsync_ends_with_its_first_process_although_others_hold_and_flood_its_pipes()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        var printed = new MemoryStream();
        Task<ExecOutcome> running = guest.Sandbox.ExecAsync(Command("sh") with { KeepsOutput = false }, () => { }, (_, data) => printed.Write(data.Span), Cancel);
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        using SafeFileHandle stdin = guest.TakeDescriptor();
        await using FileStream stdout = Open(guest, FileAccess.Write);
        using SafeFileHandle stderr = guest.TakeDescriptor();
        await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
        await stdout.WriteAsync("own"u8.ToArray(), Cancel);
        await stdout.FlushAsync(Cancel);
        await guest.SendAsync(InitFrameType.ProcessEnded, U32(exec.Id), U32(0), U32(0), NoUsage, U32(1), U32(0));
        Task flood = Task.Run(
            async () =>
            {
                byte[] bytes = new byte[4096];
                while (true)
                {
                    await stdout.WriteAsync(bytes, Cancel);
                }
            },
            Cancel);

        ExecOutcome outcome = await running;
        Assert.Equal((Termination.Exited(0), 1), (outcome.End.Termination, outcome.End.LeftBehind));
        Assert.StartsWith("own", Encoding.UTF8.GetString(printed.ToArray()), StringComparison.Ordinal);

        // The host has closed its end.
        await Assert.ThrowsAsync<IOException>(() => flood);
        await AssertUsableAsync(guest);
    }

    [Fact]
    public async Task ExecAsync_of_a_command_that_cannot_start_is_a_termination()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        Task<ExecOutcome> running = ExecAsync(guest, Command("nothing"));
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        await guest.SendAsync(InitFrameType.ProcessNotStarted, U32(exec.Id), U32(11), U32(2));
        ExecOutcome outcome = await running;
        Assert.Equal((TerminationKind.NotStarted, 2), (outcome.End.Termination.Kind, outcome.End.Termination.Errno!.Value));
        Assert.Contains("'nothing'", outcome.End.Termination.Message, StringComparison.Ordinal);
        await AssertUsableAsync(guest);
    }

    [Fact]
    public async Task ExecAsync_kills_only_the_command_at_its_output_limit()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        Task<ExecOutcome> running = ExecAsync(guest, Command("yes") with { OutputLimit = 3 });
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        using SafeFileHandle stdin = guest.TakeDescriptor();
        await using (FileStream stdout = Open(guest, FileAccess.Write))
        {
            await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
            await stdout.WriteAsync("yyyy"u8.ToArray(), Cancel);
        }

        await AssertKilledAsync(guest, exec.Id);
        ExecOutcome outcome = await running;
        Assert.Equal(TerminationKind.OutputLimit, outcome.End.Termination.Kind);
        Assert.Equal("yyy"u8.ToArray(), outcome.Stdout.ToArray());
        await AssertUsableAsync(guest);
    }

    [Fact]
    public async Task ExecAsync_kills_the_command_when_the_disk_is_full()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        using var full = new CancellationTokenSource();
        Task<ExecOutcome> running = ExecAsync(guest, Command("dd") with { DiskFull = full.Token });
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
        await full.CancelAsync();
        await AssertKilledAsync(guest, exec.Id);
        Assert.Equal(TerminationKind.DiskLimit, (await running).End.Termination.Kind);
        await AssertUsableAsync(guest);
    }

    [Fact]
    public async Task ExecAsync_asks_the_command_to_end_at_its_wall_clock_then_kills_it()
    {
        var time = new FakeTimeProvider();
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync(time);
        var started = new TaskCompletionSource();
        Task<ExecOutcome> running = guest.Sandbox.ExecAsync(
            Command("sleep") with { WallClock = TimeSpan.FromSeconds(5), StopGrace = TimeSpan.FromSeconds(2), StopSignal = 2 }, started.SetResult, (_, _) => { }, Cancel);
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
        await started.Task;
        time.Advance(TimeSpan.FromSeconds(5));
        Frame signal = await guest.ReadAsync(InitFrameType.ProcessSignal);
        Assert.Equal([2, 0], signal.Numbers);
        await AdvanceUntilAsync(time, AssertKilledAsync(guest, exec.Id));
        Assert.Equal(TerminationKind.WallClockLimit, (await running).End.Termination.Kind);
        await AssertUsableAsync(guest);
    }

    [Fact]
    public async Task The_wall_clock_stands_still_while_the_sandbox_is_frozen()
    {
        var time = new FakeTimeProvider();
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync(time);
        var started = new TaskCompletionSource();
        Task<ExecOutcome> running = guest.Sandbox.ExecAsync(Command("sleep") with { WallClock = TimeSpan.FromSeconds(5) }, started.SetResult, (_, _) => { }, Cancel);
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
        await started.Task;
        time.Advance(TimeSpan.FromSeconds(4));
        guest.Sandbox.Freeze();
        time.Advance(TimeSpan.FromDays(7));
        guest.Sandbox.Thaw();
        time.Advance(TimeSpan.FromSeconds(0.9));
        await AssertUsableAsync(guest);
        time.Advance(TimeSpan.FromSeconds(0.1));
        await AssertKilledAsync(guest, exec.Id);
        Assert.Equal(TerminationKind.WallClockLimit, (await running).End.Termination.Kind);
    }

    [Fact]
    public async Task ExecAsync_counts_the_processor_time_of_the_command()
    {
        var time = new FakeTimeProvider();
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync(time);
        Task<ExecOutcome> running = ExecAsync(guest, Command("busy") with { CpuTime = TimeSpan.FromSeconds(1) });
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
        foreach (ulong used in (ulong[])[999_000, 1_000_000])
        {
            Task<Frame> asking = guest.ReadAsync(InitFrameType.ProcessUsage);
            await AdvanceUntilAsync(time, asking);
            Frame ask = await asking;
            await guest.SendAsync(InitFrameType.ProcessUsageReport, U32(ask.Id), U32(exec.Id), U64(used), U32(1));
        }

        await AssertKilledAsync(guest, exec.Id);
        Assert.Equal(TerminationKind.CpuTimeLimit, (await running).End.Termination.Kind);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_PID_1_that_obeys_no_kill_hangs_no_call(bool hasStarted)
    {
        var time = new FakeTimeProvider();
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync(time);
        Task<ExecOutcome> running = ExecAsync(guest, Command("sleep") with { WallClock = TimeSpan.FromSeconds(1) });
        Task<IGuestProcess> other = guest.Sandbox.StartAsync(Command("other"), Cancel);
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        if (hasStarted)
        {
            await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
        }

        await AdvanceUntilAsync(time, running);
        Assert.Equal(hasStarted ? TerminationKind.WallClockLimit : TerminationKind.SandboxDied, (await running).End.Termination.Kind);
        Assert.Equal(KeptSandboxEnd.Died, await guest.Sandbox.Ended);
        Assert.Equal(TerminationKind.SandboxDied, (await (await other).Ended).Termination.Kind);
        await Assert.ThrowsAsync<KeptSandboxEndedException>(() => guest.Sandbox.ConnectAsync(80, Cancel));
    }

    [Fact]
    public async Task A_cancelled_ExecAsync_kills_its_command_only()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        foreach (bool hasStarted in (bool[])[false, true])
        {
            using var cancellation = new CancellationTokenSource();
            Task<ExecOutcome> running = guest.Sandbox.ExecAsync(Command("sleep"), () => { }, (_, _) => { }, cancellation.Token);
            Frame exec = await guest.ReadAsync(InitFrameType.Exec);
            if (hasStarted)
            {
                await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
            }

            await cancellation.CancelAsync();
            Assert.Equal([9, 1], (await guest.ReadAsync(InitFrameType.ProcessSignal)).Numbers);
            if (!hasStarted)
            {
                await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
            }

            await EndAsync(guest, exec.Id, signal: 9);
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => running);
            await AssertUsableAsync(guest);
        }
    }

    [Fact]
    public async Task A_call_that_is_cancelled_before_its_turn_is_never_sent()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();

        // The guest does not read, so 5 MB do not fit into the socket.
        Task<ExecOutcome> first = ExecAsync(guest, Command("first", new string('a', 5_000_000)));
        using var cancellation = new CancellationTokenSource();
        Task<ExecOutcome> second = guest.Sandbox.ExecAsync(Command("second"), () => { }, (_, _) => { }, cancellation.Token);
        Task<SandboxConnection> third = guest.Sandbox.ConnectAsync(80, cancellation.Token);
        Task<GuestUsage> usage = guest.Sandbox.ReadUsageAsync(cancellation.Token);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => second);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => third);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => usage);

        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        Assert.Equal(3, guest.Descriptors);
        await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
        await EndAsync(guest, exec.Id);
        Assert.Equal(TerminationKind.Exited, (await first).End.Termination.Kind);
        Frame asked = await guest.ReadAsync(InitFrameType.Usage);
        await guest.SendAsync(InitFrameType.UsageReport, U32(asked.Id), U64(1), U32(1));
        await AssertUsableAsync(guest);
    }

    [Fact]
    public async Task StartAsync_relays_input_and_output_within_their_windows()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        Task<IGuestProcess> starting = guest.Sandbox.StartAsync(Command("cat"), Cancel);
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        Assert.Equal([1, 0, 0, 0], exec.Numbers.Take(4));
        await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
        IGuestProcess process = await starting;

        // Input: one byte more than the window waits.
        Task writing = process.Input.WriteAsync(new byte[InitProtocol.InputWindow + 1], Cancel).AsTask();
        int received = (await guest.ReadAsync(InitFrameType.Input)).Payload.Length + (await guest.ReadAsync(InitFrameType.Input)).Payload.Length - 8;
        Assert.Equal(InitProtocol.InputWindow, received);
        Assert.False(writing.IsCompleted);
        await guest.SendAsync(InitFrameType.InputTaken, U32(exec.Id), U32(10));
        Assert.Equal(5, (await guest.ReadAsync(InitFrameType.Input)).Payload.Length);
        await writing;
        await process.Input.DisposeAsync();
        Assert.Equal(exec.Id, (await guest.ReadAsync(InitFrameType.InputEnd)).Id);

        // Output: more credit comes only when somebody reads.
        await AssertUsableAsync(guest);
        Assert.Equal(SessionOutputQueue.Window, guest.Credits[(exec.Id, 1)]);
        Assert.Equal(SessionOutputQueue.Window, guest.Credits[(exec.Id, 2)]);
        for (int sent = 0; sent < SessionOutputQueue.Window; sent += 32 << 10)
        {
            await guest.SendAsync(InitFrameType.Output, U32(exec.Id), U32(1), new byte[32 << 10]);
        }

        await guest.SendAsync(InitFrameType.Output, U32(exec.Id), U32(2), "e"u8.ToArray());
        await guest.SendAsync(InitFrameType.OutputEnd, U32(exec.Id), U32(2));
        await AssertUsableAsync(guest);
        Assert.Equal(SessionOutputQueue.Window, guest.Credits[(exec.Id, 1)]);
        await using IAsyncEnumerator<GuestOutput> output = process.ReadAllAsync(Cancel).GetAsyncEnumerator(Cancel);
        for (int read = 0; read < SessionOutputQueue.Window; read += output.Current.Data.Length)
        {
            Assert.True(await output.MoveNextAsync());
            Assert.Equal(SandboxStream.StandardOutput, output.Current.Stream);
        }

        Assert.True(await output.MoveNextAsync());
        Assert.Equal((SandboxStream.StandardError, 1), (output.Current.Stream, output.Current.Data.Length));
        await AssertUsableAsync(guest);
        Assert.InRange(guest.Credits[(exec.Id, 1)], (SessionOutputQueue.Window * 3 / 2) + 1, SessionOutputQueue.Window * 2);
        await guest.SendAsync(InitFrameType.OutputEnd, U32(exec.Id), U32(1));
        await EndAsync(guest, exec.Id);
        Assert.False(await output.MoveNextAsync());
        Assert.Equal(Termination.Exited(0), (await process.Ended).Termination);

        // The process is over.
        await process.KillAsync(Cancel);
        await AssertUsableAsync(guest);
    }

    [Fact]
    public async Task StartAsync_with_a_terminal_sends_its_size_signals_and_kill()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        Task<IGuestProcess> starting = guest.Sandbox.StartAsync(Command("bash") with { Terminal = new(120, 40) }, Cancel);
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        Assert.Equal([2, 0, 120, 40], exec.Numbers.Take(4));
        await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
        IGuestProcess process = await starting;
        await process.ResizeAsync(new(80, 24), Cancel);
        Assert.Equal([80, 24], (await guest.ReadAsync(InitFrameType.Resize)).Numbers);
        await process.SignalAsync(2, wholeSession: false, Cancel);
        Assert.Equal([2, 0], (await guest.ReadAsync(InitFrameType.ProcessSignal)).Numbers);
        await process.KillAsync(Cancel);
        Assert.Equal([9, 1], (await guest.ReadAsync(InitFrameType.ProcessSignal)).Numbers);
        await guest.SendAsync(InitFrameType.OutputEnd, U32(exec.Id), U32(1));
        await EndAsync(guest, exec.Id, signal: 9);
        Assert.Equal(Termination.Signaled(9), (await process.Ended).Termination);
        Assert.Equal([(exec.Id, 1u)], guest.Credits.Keys);
    }

    [Fact]
    public async Task StartAsync_of_a_command_that_cannot_start_returns_a_process_that_has_ended()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        Task<IGuestProcess> starting = guest.Sandbox.StartAsync(Command("nothing"), Cancel);
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        await guest.SendAsync(InitFrameType.ProcessNotStarted, U32(exec.Id), U32(11), U32(13));
        IGuestProcess process = await starting;
        Assert.Equal(TerminationKind.NotStarted, (await process.Ended).Termination.Kind);
        Assert.Empty(await process.ReadAllAsync(Cancel).ToArrayAsync(Cancel));
        Assert.Throws<InvalidOperationException>(() => process.ResizeAsync(new(1, 1), Cancel).GetAwaiter().GetResult());
        await process.Input.WriteAsync(new byte[1], Cancel);
        await AssertUsableAsync(guest);
    }

    [Fact]
    public async Task A_cancelled_StartAsync_kills_the_command()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        using var cancellation = new CancellationTokenSource();
        Task<IGuestProcess> starting = guest.Sandbox.StartAsync(Command("cat"), cancellation.Token);
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => starting);
        Assert.Equal([9, 1], (await guest.ReadAsync(InitFrameType.ProcessSignal)).Numbers);
        await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
        await AssertUsableAsync(guest);
    }

    [Fact]
    public async Task ConnectAsync_tries_both_addresses_and_relays_both_directions()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        Task<SandboxConnection> connecting = guest.Sandbox.ConnectAsync(8080, Cancel);
        Frame four = await guest.ReadAsync(InitFrameType.Connect);
        Assert.Equal([4, 8080], four.Numbers);
        await guest.SendAsync(InitFrameType.NotConnected, U32(four.Id), U32(111));
        Frame six = await guest.ReadAsync(InitFrameType.Connect);
        Assert.Equal([6, 8080], six.Numbers);
        await guest.SendAsync(InitFrameType.Connected, U32(six.Id));
        await using SandboxConnection connection = await connecting;
        await connection.WriteAsync("ping"u8.ToArray(), Cancel);
        Assert.Equal("ping"u8.ToArray(), (await guest.ReadAsync(InitFrameType.Input)).Payload[4..]);
        await connection.CloseWriteAsync(Cancel);
        await guest.ReadAsync(InitFrameType.InputEnd);
        await Assert.ThrowsAsync<IOException>(() => connection.WriteAsync(new byte[1], Cancel).AsTask());
        await guest.SendAsync(InitFrameType.Output, U32(six.Id), U32(1), "pong"u8.ToArray());
        byte[] buffer = new byte[3];
        Assert.Equal(3, await connection.ReadAsync(buffer, Cancel));
        Assert.Equal(1, await connection.ReadAsync(buffer, Cancel));
        await guest.SendAsync(InitFrameType.OutputEnd, U32(six.Id), U32(1));
        Assert.Equal(0, await connection.ReadAsync(buffer, Cancel));
        await guest.SendAsync(InitFrameType.Closed, U32(six.Id), U32(0));
        Assert.Equal(0, await connection.ReadAsync(buffer, Cancel));
        await AssertUsableAsync(guest);
    }

    [Fact]
    public async Task ConnectAsync_to_a_port_without_a_listener_names_the_refusal()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        Task<SandboxConnection> connecting = guest.Sandbox.ConnectAsync(8080, Cancel);
        await guest.SendAsync(InitFrameType.NotConnected, U32((await guest.ReadAsync(InitFrameType.Connect)).Id), U32(111));
        await guest.SendAsync(InitFrameType.NotConnected, U32((await guest.ReadAsync(InitFrameType.Connect)).Id), U32(97));
        IOException failure = await Assert.ThrowsAsync<IOException>(() => connecting);
        Assert.Equal(SocketError.ConnectionRefused, Assert.IsType<SocketException>(failure.InnerException).SocketErrorCode);
        await AssertUsableAsync(guest);
    }

    [Fact]
    public async Task A_connection_that_breaks_or_is_disposed_or_is_cancelled_leaves_the_others_alone()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        (SandboxConnection broken, uint brokenId) = await ConnectAsync(guest);
        (SandboxConnection disposed, uint disposedId) = await ConnectAsync(guest);
        (SandboxConnection other, uint otherId) = await ConnectAsync(guest);
        Task<int> reading = broken.ReadAsync(new byte[1], Cancel).AsTask();
        await guest.SendAsync(InitFrameType.Closed, U32(brokenId), U32(104));
        Assert.Equal(SocketError.ConnectionReset, Assert.IsType<SocketException>((await Assert.ThrowsAsync<IOException>(() => reading)).InnerException).SocketErrorCode);
        await Assert.ThrowsAsync<IOException>(() => broken.WriteAsync(new byte[1], Cancel).AsTask());
        await broken.DisposeAsync();
        await disposed.DisposeAsync();
        Assert.Equal(disposedId, (await guest.ReadAsync(InitFrameType.Release)).Id);
        await guest.SendAsync(InitFrameType.Output, U32(disposedId), U32(1), new byte[10]);
        await guest.SendAsync(InitFrameType.Closed, U32(disposedId), U32(0));

        using var cancellation = new CancellationTokenSource();
        Task<SandboxConnection> connecting = guest.Sandbox.ConnectAsync(80, cancellation.Token);
        Frame connect = await guest.ReadAsync(InitFrameType.Connect);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => connecting);
        Assert.Equal(connect.Id, (await guest.ReadAsync(InitFrameType.Release)).Id);
        await guest.SendAsync(InitFrameType.Connected, U32(connect.Id));
        await guest.SendAsync(InitFrameType.Closed, U32(connect.Id), U32(0));

        await guest.SendAsync(InitFrameType.Output, U32(otherId), U32(1), new byte[10]);
        Assert.Equal(10, await other.ReadAsync(new byte[20], Cancel));
        await other.DisposeAsync();
        await guest.ReadAsync(InitFrameType.Release);
        await AssertUsableAsync(guest);
    }

    [Fact]
    public async Task OpenFilesAsync_sends_a_socket_and_ends_with_the_sandbox()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        Task<IFileWorker> opening = guest.Sandbox.OpenFilesAsync(new(65534, 65534, []), Cancel);
        Frame files = await guest.ReadAsync(InitFrameType.Files);
        Assert.Equal(1, guest.Descriptors);
        await guest.SendAsync(InitFrameType.ProcessStarted, U32(files.Id), U32(2));
        IFileWorker worker = await opening;
        Task<GuestFile?> asking = worker.StatAsync("/a", Cancel);
        await AssertUsableAsync(guest);
        Assert.False(asking.IsCompleted);
        guest.Sandbox.Kill();
        await Assert.ThrowsAnyAsync<IOException>(() => asking);
        await worker.Ended;
    }

    [Fact]
    public async Task OpenFilesAsync_that_fails_or_is_cancelled_closes_the_socket()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        Task<IFileWorker> opening = guest.Sandbox.OpenFilesAsync(new(65534, 65534, []), Cancel);
        Frame files = await guest.ReadAsync(InitFrameType.Files);
        await guest.SendAsync(InitFrameType.ProcessNotStarted, U32(files.Id), U32(1), U32(12));
        await Assert.ThrowsAsync<IOException>(() => opening);

        using var cancellation = new CancellationTokenSource();
        opening = guest.Sandbox.OpenFilesAsync(new(65534, 65534, []), cancellation.Token);
        files = await guest.ReadAsync(InitFrameType.Files);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => opening);
        while (guest.Descriptors > 0)
        {
            SafeFileHandle descriptor = guest.TakeDescriptor();
            using var socket = new Socket(new SafeSocketHandle(descriptor.DangerousGetHandle(), ownsHandle: true));
            descriptor.SetHandleAsInvalid();
            Assert.Equal(0, await socket.ReceiveAsync(new byte[1], Cancel));
        }

        await guest.SendAsync(InitFrameType.ProcessStarted, U32(files.Id), U32(2));
        await EndAsync(guest, files.Id);
        await AssertUsableAsync(guest);
    }

    [Fact]
    public async Task ReadUsageAsync_is_newer_than_its_call_and_shares_requests()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        Task<GuestUsage> first = guest.Sandbox.ReadUsageAsync(Cancel);
        Frame asked = await guest.ReadAsync(InitFrameType.Usage);
        Task<GuestUsage> second = guest.Sandbox.ReadUsageAsync(Cancel);
        Task<GuestUsage> third = guest.Sandbox.ReadUsageAsync(Cancel);
        await guest.SendAsync(InitFrameType.UsageReport, U32(asked.Id), U64(100), U32(3));
        Assert.Equal(new GuestUsage(100, 3), await first);
        asked = await guest.ReadAsync(InitFrameType.Usage);
        await guest.SendAsync(InitFrameType.UsageReport, U32(asked.Id), U64(200), U32(4));
        Assert.Equal(new GuestUsage(200, 4), await second);
        Assert.Equal(new GuestUsage(200, 4), await third);
    }

    [Fact]
    public async Task Credit_does_not_pile_up_for_a_PID_1_that_prints_but_does_not_read()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        Task<IGuestProcess> starting = guest.Sandbox.StartAsync(Command("yes"), Cancel);
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
        IGuestProcess process = await starting;
        Task reading = Task.Run(
            async () =>
            {
                await foreach (GuestOutput output in process.ReadAllAsync(Cancel))
                {
                    Assert.NotEqual(0, output.Data.Length);
                }
            },
            Cancel);

        // The socket's buffer takes some frames of credit, which count as given. The guest prints until it has exceeded them.
        while (!guest.Sandbox.Ended.IsCompleted)
        {
            // Nobody reads after the end.
            Task sending = guest.SendAsync(InitFrameType.Output, U32(exec.Id), U32(1), new byte[32 << 10]);
            await Task.WhenAny(sending, guest.Sandbox.Ended);
        }

        await reading;
        Assert.Equal(TerminationKind.SandboxDied, (await process.Ended).Termination.Kind);
    }

    private static Task<ExecOutcome> ExecAsync(ScriptedGuest guest, ExecPlan plan) => guest.Sandbox.ExecAsync(plan, () => { }, (_, _) => { }, Cancel);

    private static FileStream Open(ScriptedGuest guest, FileAccess access) => new(guest.TakeDescriptor(), access);

    private static Task EndAsync(ScriptedGuest guest, uint id, int? signal = null) => guest.SendAsync(
        InitFrameType.ProcessEnded, U32(id), U32(signal is null ? 0u : 1u), U32((uint)(signal ?? 0)), NoUsage, U32(0), U32(0));

    private static async Task AssertKilledAsync(ScriptedGuest guest, uint id)
    {
        Frame signal = await guest.ReadAsync(InitFrameType.ProcessSignal);
        Assert.Equal(id, signal.Id);
        Assert.Equal([9, 1], signal.Numbers);
        await EndAsync(guest, id, signal: 9);
    }

    private static async Task<(SandboxConnection Connection, uint Id)> ConnectAsync(ScriptedGuest guest)
    {
        Task<SandboxConnection> connecting = guest.Sandbox.ConnectAsync(80, Cancel);
        Frame connect = await guest.ReadAsync(InitFrameType.Connect);
        await guest.SendAsync(InitFrameType.Connected, U32(connect.Id));
        return (await connecting, connect.Id);
    }

    private static async Task AssertUsableAsync(ScriptedGuest guest)
    {
        Task<GuestUsage> asking = guest.Sandbox.ReadUsageAsync(Cancel);
        Frame usage = await guest.ReadAsync(InitFrameType.Usage);
        await guest.SendAsync(InitFrameType.UsageReport, U32(usage.Id), U64(1), U32(1));
        Assert.Equal(new GuestUsage(1, 1), await asking);
        Assert.False(guest.Sandbox.Ended.IsCompleted);
    }

    private static async Task AdvanceUntilAsync(FakeTimeProvider time, Task task) =>
        await Until.IsSoAsync(
            () =>
            {
                time.Advance(TimeSpan.FromSeconds(0.25));
                return task.IsCompleted;
            },
            60);
}
