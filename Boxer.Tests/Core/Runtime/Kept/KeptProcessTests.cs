using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;
using static Boxer.Tests.Core.Runtime.Init.InitFrames;
using static Boxer.Tests.Core.Runtime.Kept.GuestScripts;
using static Boxer.Tests.Core.Runtime.Kept.ScriptedGuest;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>Relayed processes of a kept sandbox, with the test as PID 1.</summary>
public sealed class KeptProcessTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

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
    public async Task A_cancelled_write_of_16_KiB_or_less_has_written_nothing()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        Task<IGuestProcess> starting = guest.Sandbox.StartAsync(Command("cat"), Cancel);
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
        IGuestProcess process = await starting;
        for (int piece = 0; piece < 3; piece++)
        {
            await process.Input.WriteAsync(new byte[InitProtocol.WholeInput], Cancel);
            await guest.ReadAsync(InitFrameType.Input);
        }

        await process.Input.WriteAsync(new byte[InitProtocol.WholeInput - 1], Cancel);
        await guest.ReadAsync(InitFrameType.Input);
        using CancellationTokenSource cancelled = new();
        Task writing = process.Input.WriteAsync("ab"u8.ToArray(), cancelled.Token).AsTask();
        Assert.False(writing.IsCompleted);
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => writing);

        // The window has room for one byte: the next frame has this one alone.
        await process.Input.WriteAsync("c"u8.ToArray(), Cancel).AsTask().WaitAsync(TimeSpan.FromSeconds(60), Cancel);
        Assert.Equal("c"u8.ToArray(), (await guest.ReadAsync(InitFrameType.Input)).Payload[4..]);
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
        await StartAndCancelAsync(guest, "cat");
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

    [Fact]
    public async Task A_cancelled_StartAsync_takes_the_output_of_the_command_so_that_it_can_end()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        Frame exec = await StartAndCancelAsync(guest, "yes");
        for (int sent = 0; sent < SessionOutputQueue.Window; sent += 32 << 10)
        {
            await guest.SendAsync(InitFrameType.Output, U32(exec.Id), U32(1), new byte[32 << 10]);
        }

        await guest.ReadAsync(InitFrameType.Credit);
        await guest.SendAsync(InitFrameType.Output, U32(exec.Id), U32(1), new byte[10]);
        await guest.SendAsync(InitFrameType.OutputEnd, U32(exec.Id), U32(1));
        await guest.SendAsync(InitFrameType.OutputEnd, U32(exec.Id), U32(2));
        await EndAsync(guest, exec.Id, signal: 9);
        await AssertUsableAsync(guest);
    }

    // The command starts although its start was cancelled.
    private static async Task<Frame> StartAndCancelAsync(ScriptedGuest guest, string command)
    {
        using var cancellation = new CancellationTokenSource();
        Task<IGuestProcess> starting = guest.Sandbox.StartAsync(Command(command), cancellation.Token);
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => starting);
        Assert.Equal([9, 1], (await guest.ReadAsync(InitFrameType.ProcessSignal)).Numbers);
        await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
        await AssertUsableAsync(guest);
        return exec;
    }
}
