using System.Text;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;
using Microsoft.Extensions.Time.Testing;
using Microsoft.Win32.SafeHandles;
using static Boxer.Tests.Core.Runtime.Init.InitFrames;
using static Boxer.Tests.Core.Runtime.Kept.GuestScripts;
using static Boxer.Tests.Core.Runtime.Kept.ScriptedGuest;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>Foreground commands of a kept sandbox, with the test as PID 1.</summary>
public sealed class KeptSandboxTests
{
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
    public async Task ExecAsync_of_a_command_that_does_not_start_in_time_is_a_termination()
    {
        var time = new FakeTimeProvider();
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync(time);
        bool isReported = false;
        Task<ExecOutcome> running = guest.Sandbox.ExecAsync(Command("fifo") with { WallClock = TimeSpan.FromSeconds(1) }, () => isReported = true, (_, _) => { }, Cancel);
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        Task<Frame> killing = guest.ReadAsync(InitFrameType.ProcessSignal);
        await AdvanceUntilAsync(time, killing, CommandWatch.Patience);
        await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
        await EndAsync(guest, exec.Id, signal: 9);
        ExecOutcome outcome = await running;
        Assert.Equal(Termination.NotStarted(110, "the command 'fifo' did not start within 10 s"), outcome.End.Termination);
        Assert.False(isReported);
        await AssertUsableAsync(guest);
    }

    [Fact]
    public async Task ExecAsync_of_a_command_that_starts_at_the_last_moment_and_ends_has_its_end()
    {
        var time = new FakeTimeProvider();
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync(time);
        bool isReported = false;
        Task<ExecOutcome> running = guest.Sandbox.ExecAsync(Command("slow"), () => isReported = true, (_, _) => { }, Cancel);
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        await AdvanceUntilAsync(time, guest.ReadAsync(InitFrameType.ProcessSignal), CommandWatch.Patience);
        await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
        await EndAsync(guest, exec.Id);
        Assert.Equal(Termination.Exited(0), (await running).End.Termination);
        Assert.True(isReported);
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
        (Task<ExecOutcome> running, uint id) = await StartExecAsync(
            guest, Command("sleep") with { WallClock = TimeSpan.FromSeconds(5), StopGrace = TimeSpan.FromSeconds(2), StopSignal = 2 });
        time.Advance(TimeSpan.FromSeconds(5));
        Frame signal = await guest.ReadAsync(InitFrameType.ProcessSignal);
        Assert.Equal([2, 0], signal.Numbers);
        await AdvanceUntilAsync(time, AssertKilledAsync(guest, id), TimeSpan.FromSeconds(2));
        Assert.Equal(TerminationKind.WallClockLimit, (await running).End.Termination.Kind);
        await AssertUsableAsync(guest);
    }

    [Fact]
    public async Task The_wall_clock_stands_still_while_the_sandbox_is_frozen()
    {
        var time = new FakeTimeProvider();
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync(time);
        (Task<ExecOutcome> running, uint id) = await StartExecAsync(guest, Command("sleep") with { WallClock = TimeSpan.FromSeconds(5) });
        time.Advance(TimeSpan.FromSeconds(4));
        Assert.True(guest.Sandbox.TryFreeze());
        time.Advance(TimeSpan.FromDays(7));
        guest.Sandbox.Thaw();
        time.Advance(TimeSpan.FromSeconds(0.9));
        await AssertUsableAsync(guest);
        time.Advance(TimeSpan.FromSeconds(0.1));
        await AssertKilledAsync(guest, id);
        Assert.Equal(TerminationKind.WallClockLimit, (await running).End.Termination.Kind);
    }

    [Fact]
    public async Task ExecAsync_counts_the_processor_time_of_the_command()
    {
        var time = new FakeTimeProvider();
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync(time);
        (Task<ExecOutcome> running, uint id) = await StartExecAsync(guest, Command("busy") with { CpuTime = TimeSpan.FromSeconds(1) });
        foreach (ulong used in (ulong[])[999_000, 1_000_000])
        {
            Task<Frame> asking = guest.ReadAsync(InitFrameType.ProcessUsage);
            await AdvanceUntilAsync(time, asking);
            Frame ask = await asking;
            await guest.SendAsync(InitFrameType.ProcessUsageReport, U32(ask.Id), U32(id), U64(used), U32(1));
        }

        await AssertKilledAsync(guest, id);
        Assert.Equal(TerminationKind.CpuTimeLimit, (await running).End.Termination.Kind);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_PID_1_that_obeys_no_kill_hangs_no_call(bool hasStarted)
    {
        var time = new FakeTimeProvider();
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync(time);
        var started = new TaskCompletionSource();
        Task<ExecOutcome> running = guest.Sandbox.ExecAsync(Command("sleep") with { WallClock = TimeSpan.FromSeconds(1) }, started.SetResult, (_, _) => { }, Cancel);
        Task<IGuestProcess> other = guest.Sandbox.StartAsync(Command("other"), Cancel);
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        if (hasStarted)
        {
            await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
            await started.Task;
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
        Task<long> usage = guest.Sandbox.ReadDiskUseAsync(cancellation.Token);
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
        await guest.SendAsync(InitFrameType.UsageReport, U32(asked.Id), U64(1));
        await AssertUsableAsync(guest);
    }

    [Fact]
    public async Task A_command_does_not_escape_its_cpu_limit_because_PID_1_does_not_answer()
    {
        var time = new FakeTimeProvider();
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync(time);
        (Task<ExecOutcome> running, _) = await StartExecAsync(guest, Command("busy") with { CpuTime = TimeSpan.FromSeconds(1) });
        Task<Frame> asking = guest.ReadAsync(InitFrameType.ProcessUsage);
        await AdvanceUntilAsync(time, asking);
        await AdvanceUntilAsync(time, running);
        Assert.Equal(TerminationKind.SandboxDied, (await running).End.Termination.Kind);
    }
}
