using System.Net.Sockets;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;
using CsCheck;
using static Boxer.Tests.Core.Runtime.Init.InitFrames;
using static Boxer.Tests.Core.Runtime.Kept.ScriptedGuest;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>A PID 1 that lies or dies while calls of every kind are in flight: all of them end, with the end of the sandbox.</summary>
public sealed class LyingGuestTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public static TheoryData<string, Func<object, Task>> Ends() => new()
    {
        { "death", guest => Do(guest, of => of.Die()) },
        { "half a frame and death", async guest => { await ((ScriptedGuest)guest).SendRawAsync([16, 0, 0]); ((ScriptedGuest)guest).Die(); } },
        { "a fault", guest => Send(guest, InitFrameType.Fault, U32(5), Text("bad luck")) },
        { "an unknown type", guest => ((ScriptedGuest)guest).SendRawAsync([0, 0, 0, 0, 0x77, 0x80, 1, 0]) },
        { "another version", guest => ((ScriptedGuest)guest).SendRawAsync([4, 0, 0, 0, 0x15, 0x80, 2, 0, 1, 0, 0, 0]) },
        { "a frame of 2 GiB", guest => ((ScriptedGuest)guest).SendRawAsync([0, 0, 0, 0x80, 0x13, 0x80, 1, 0]) },
        { "opened twice", guest => Send(guest, InitFrameType.Opened) },
        { "an event of a run", guest => Send(guest, InitFrameType.Started) },
        { "a command that nobody started", guest => Send(guest, InitFrameType.ProcessStarted, U32(999), U32(2)) },
        { "usage that nobody asked for", guest => Send(guest, InitFrameType.UsageReport, U32(999), U64(0)) },
        { "output beyond the credit", async guest =>
            {
                for (int i = 0; i < 3; i++)
                {
                    await Send(guest, InitFrameType.Output, U32(2), U32(1), new byte[60 << 10]);
                }
            }
        },
    };

    [Theory]
    [MemberData(nameof(Ends), DisableDiscoveryEnumeration = true)]
    public async Task Everything_in_flight_ends(string end, Func<object, Task> act)
    {
        Assert.NotEmpty(end);
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        Task<ExecOutcome> running = guest.Sandbox.ExecAsync(Command("a"), () => { }, (_, _) => { }, Cancel);
        await guest.SendAsync(InitFrameType.ProcessStarted, U32((await guest.ReadAsync(InitFrameType.Exec)).Id), U32(2));
        Task<IGuestProcess> starting = guest.Sandbox.StartAsync(Command("b"), Cancel);
        await guest.SendAsync(InitFrameType.ProcessStarted, U32((await guest.ReadAsync(InitFrameType.Exec)).Id), U32(3));
        IGuestProcess process = await starting;
        Task<SandboxConnection> opening = guest.Sandbox.ConnectAsync(80, Cancel);
        await guest.SendAsync(InitFrameType.Connected, U32((await guest.ReadAsync(InitFrameType.Connect)).Id));
        await using SandboxConnection connection = await opening;
        Task<int> reading = connection.ReadAsync(new byte[1], Cancel).AsTask();
        Task writing = connection.WriteAsync(new byte[InitProtocol.InputWindow + 1], Cancel).AsTask();
        Task feeding = process.Input.WriteAsync(new byte[InitProtocol.InputWindow + 1], Cancel).AsTask();
        Task<ExecOutcome> unstarted = guest.Sandbox.ExecAsync(Command("c"), () => Assert.Fail(), (_, _) => Assert.Fail(), Cancel);
        Task<IGuestProcess> unstartedProcess = guest.Sandbox.StartAsync(Command("d"), Cancel);
        Task<SandboxConnection> connecting = guest.Sandbox.ConnectAsync(80, Cancel);
        Task<long> asking = guest.Sandbox.ReadDiskUseAsync(Cancel);

        // Everything was sent.
        while (guest.Descriptors < 6)
        {
            await guest.ReadAnyAsync();
        }

        await act(guest);

        Assert.Equal(KeptSandboxEnd.Died, await guest.Sandbox.Ended);
        Assert.Equal(TerminationKind.SandboxDied, (await running).End.Termination.Kind);
        Assert.Equal(TerminationKind.SandboxDied, (await unstarted).End.Termination.Kind);
        Assert.Equal(TerminationKind.SandboxDied, (await process.Ended).Termination.Kind);
        await process.ReadAllAsync(Cancel).LastOrDefaultAsync(Cancel);
        await feeding;
        await process.KillAsync(Cancel);
        await AssertEndsAsync(reading);
        await AssertEndsAsync(writing);
        await AssertEndsAsync(connecting);
        await AssertEndsAsync(asking);
        await AssertEndsAsync(guest.Sandbox.ReadDiskUseAsync(Cancel));
        await AssertEndsAsync(guest.Sandbox.StartAsync(Command("e"), Cancel));
        if (await Record.ExceptionAsync(async () => Assert.Equal(TerminationKind.SandboxDied, (await (await unstartedProcess).Ended).Termination.Kind)) is { } failure)
        {
            Assert.IsType<KeptSandboxEndedException>(failure);
        }
    }

    [Fact]
    public async Task Kill_and_disposal_end_everything_although_PID_1_says_nothing()
    {
        ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        Task<ExecOutcome> running = guest.Sandbox.ExecAsync(Command("a"), () => { }, (_, _) => { }, Cancel);
        Task<IGuestProcess> starting = guest.Sandbox.StartAsync(Command("b"), Cancel);
        await guest.ReadAsync(InitFrameType.Exec);
        guest.Sandbox.Kill();
        Assert.Equal(KeptSandboxEnd.Died, await guest.Sandbox.Ended);
        Assert.Equal(TerminationKind.SandboxDied, (await running).End.Termination.Kind);
        _ = await Record.ExceptionAsync(() => starting);
        await guest.DisposeAsync();
        Assert.True(starting.IsCompleted);
    }

    [Theory]
    [InlineData(InitFrameType.Started)]
    [InlineData(InitFrameType.Fault)]
    [InlineData(InitFrameType.ProcessStarted)]
    [InlineData(null)]
    public async Task OpenAsync_fails_if_PID_1_does_not_open(object? answer)
    {
        await using var guest = new ScriptedGuest();
        await Assert.ThrowsAsync<SandboxRuntimeException>(() => guest.OpenAsync(() => answer switch
        {
            InitFrameType.Fault => guest.SendAsync(InitFrameType.Fault, U32(5), Text("x")),
            InitFrameType.ProcessStarted => guest.SendAsync(InitFrameType.ProcessStarted, U32(1), U32(2)),
            InitFrameType type => guest.SendAsync(type),
            _ => Do(guest, of => of.Die()),
        }));
    }

    [Fact]
    public async Task OpenAsync_names_the_file_that_failed()
    {
        await using var guest = new ScriptedGuest();
        InvalidSandboxRequestException failure = await Assert.ThrowsAsync<InvalidSandboxRequestException>(
            () => guest.OpenAsync(() => guest.SendAsync(InitFrameType.FileFailed, U32(28), Text("/a"))));
        Assert.Equal("Files", Assert.Single(failure.Faults).Field);
    }

    [Fact]
    public async Task Random_frames_end_the_sandbox_or_nothing_and_never_hang() =>
        await Gen.Select(Gen.UShort[0x800D, 0x801E], Gen.UInt[0, 4].Array[0, 6], Gen.Byte.Array[0, 8]).Array[1, 20].SampleAsync(
            async frames =>
            {
                await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
                Task<ExecOutcome> running = guest.Sandbox.ExecAsync(Command("a"), () => { }, (_, _) => { }, CancellationToken.None);
                Task<IGuestProcess> starting = guest.Sandbox.StartAsync(Command("b"), CancellationToken.None);
                await guest.ReadAsync(InitFrameType.Exec);
                await guest.ReadAsync(InitFrameType.Exec);
                try
                {
                    foreach ((ushort type, uint[] numbers, byte[] tail) in frames)
                    {
                        await guest.SendAsync((InitFrameType)type, [.. numbers.Select(U32), tail]);
                    }
                }
                catch (SocketException)
                {
                }

                guest.Sandbox.Kill();
                await running;
                await Record.ExceptionAsync(() => starting);
            },
            iter: 100);

    private static async Task AssertEndsAsync(Task call) => Assert.Equal(KeptSandboxEnd.Died, (await Assert.ThrowsAsync<KeptSandboxEndedException>(() => call)).End);

    private static Task Do(object guest, Action<ScriptedGuest> act)
    {
        act((ScriptedGuest)guest);
        return Task.CompletedTask;
    }

    private static Task Send(object guest, InitFrameType type, params byte[][] fields) => ((ScriptedGuest)guest).SendAsync(type, fields);
}
