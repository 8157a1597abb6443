using System.Net.Sockets;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;
using Microsoft.Extensions.Time.Testing;
using static Boxer.Tests.Core.Runtime.Init.InitFrames;
using static Boxer.Tests.Core.Runtime.Kept.GuestScripts;
using static Boxer.Tests.Core.Runtime.Kept.ScriptedGuest;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>Connections to ports of a kept sandbox, with the test as PID 1.</summary>
public sealed class KeptConnectionTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

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

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task ConnectAsync_times_out_if_nobody_accepts_and_a_PID_1_that_says_nothing_is_killed(bool answers)
    {
        var time = new FakeTimeProvider();
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync(time);
        Task<SandboxConnection> connecting = guest.Sandbox.ConnectAsync(80, Cancel);
        Frame connect = await guest.ReadAsync(InitFrameType.Connect);
        await AdvanceUntilAsync(time, connecting, KeptSandbox.AnswerPatience);
        IOException fault = await Assert.ThrowsAsync<IOException>(() => connecting);
        Assert.Equal(SocketError.TimedOut, Assert.IsType<SocketException>(fault.InnerException).SocketErrorCode);
        Assert.Equal(connect.Id, (await guest.ReadAsync(InitFrameType.Release)).Id);
        if (answers)
        {
            await guest.SendAsync(InitFrameType.Closed, U32(connect.Id), U32(0));
            await AssertUsableAsync(guest);
        }
        else
        {
            await AdvanceUntilAsync(time, guest.Sandbox.Ended);
        }
    }
}
