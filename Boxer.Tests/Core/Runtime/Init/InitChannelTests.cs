using System.Net.Sockets;
using Boxer.Runtime.Init;
using CsCheck;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>The host's end of the socket, with the test as PID 1.</summary>
public sealed class InitChannelTests : IAsyncLifetime
{
    private readonly string _directory = Directory.CreateTempSubdirectory("boxer-init-channel-").FullName;
    private Socket _guest = null!;
    private InitChannel _channel = null!;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        var endPoint = new UnixDomainSocketEndPoint(Path.Combine(_directory, "socket"));
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(endPoint);
        listener.Listen(1);
        _guest = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await _guest.ConnectAsync(endPoint, Cancellation);
        _channel = new InitChannel(await listener.AcceptAsync(Cancellation));
    }

    public async ValueTask DisposeAsync()
    {
        await _channel.DisposeAsync();
        _guest.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public async Task ReadEventAsync_assembles_frames_that_arrive_byte_by_byte()
    {
        byte[] frames = [.. Frame(InitFrameType.Ready, InitFrames.U32(InitProtocol.Version)), .. Frame(InitFrameType.Fault, [.. InitFrames.U32(5), .. InitFrames.Text("x")])];
        Task reading = _channel.ReadReadyAsync(Cancellation);
        foreach (byte value in frames)
        {
            await _guest.SendAsync(new[] { value }, Cancellation);
        }

        await reading;
        Assert.Equal(new InitFault("x", 5), await _channel.ReadEventAsync(Cancellation));
    }

    [Fact]
    public async Task ReadEventAsync_separates_frames_that_arrive_together_and_repeats_the_end()
    {
        byte[] frames = [.. Frame(InitFrameType.Ready, InitFrames.U32(InitProtocol.Version)), .. Frame(InitFrameType.Started), 1, 2, 3];
        await _guest.SendAsync(frames, Cancellation);
        await _channel.ReadReadyAsync(Cancellation);
        await _channel.StartAsync(InitFrames.Start("a"), Cancellation);
        Assert.IsType<InitStarted>(await _channel.ReadEventAsync(Cancellation));
        _guest.Shutdown(SocketShutdown.Both);
        Assert.IsType<InitClosed>(await _channel.ReadEventAsync(Cancellation));
        Assert.IsType<InitClosed>(await _channel.ReadEventAsync(Cancellation));
    }

    [Theory]
    [InlineData("dies before GO is sent", true)]
    [InlineData("dies with GO unread", true)]
    [InlineData("dies with GO and KILL unread", false)]
    [InlineData("reads GO and dies", false)]
    [InlineData("reads GO, reports the start and dies", false)]
    [InlineData("reads GO and dies with KILL unread", false)]
    public async Task IsGoUnread_is_set_only_if_it_is_certain(string end, bool isUnread)
    {
        await _guest.SendAsync(Frame(InitFrameType.Ready, InitFrames.U32(InitProtocol.Version)), Cancellation);
        await _channel.ReadReadyAsync(Cancellation);
        await _channel.StartAsync(InitFrames.Start("a"), Cancellation);
        byte[] read = new byte[65_536];
        int length = await _guest.ReceiveAsync(read, Cancellation);
        if (end.Contains("before GO", StringComparison.Ordinal))
        {
            _guest.Dispose();
        }

        await _channel.GoAsync(Cancellation);
        if (end.Contains("reads GO", StringComparison.Ordinal))
        {
            Assert.Equal(InitProtocol.HeaderSize, await _guest.ReceiveAsync(read.AsMemory(length), Cancellation));
        }

        if (end.Contains("the start", StringComparison.Ordinal))
        {
            await _guest.SendAsync(Frame(InitFrameType.Started), Cancellation);
        }

        if (end.Contains("KILL", StringComparison.Ordinal))
        {
            await _channel.KillAsync(Cancellation);
        }

        _guest.Dispose();
        while (await _channel.ReadEventAsync(Cancellation) is not InitClosed)
        {
        }

        Assert.Equal(isUnread, _channel.IsGoUnread);
    }

    [Fact]
    public async Task ReadReadyAsync_throws_EndOfStreamException_if_pid_1_dies()
    {
        _guest.Dispose();
        await Assert.ThrowsAsync<EndOfStreamException>(() => _channel.ReadReadyAsync(Cancellation));
    }

    [Fact]
    public async Task ReadReadyAsync_reports_the_fault_of_pid_1()
    {
        await _guest.SendAsync(Frame(InitFrameType.Fault, [.. InitFrames.U32(1), .. InitFrames.Text("capset")]), Cancellation);
        InitProtocolException exception = await Assert.ThrowsAsync<InitProtocolException>(() => _channel.ReadReadyAsync(Cancellation));
        Assert.Contains("capset", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ReadEventAsync_rejects_a_forged_end_before_the_start()
    {
        await _guest.SendAsync(Frame(InitFrameType.Ready, InitFrames.U32(InitProtocol.Version)), Cancellation);
        await _channel.ReadReadyAsync(Cancellation);
        await _guest.SendAsync(Frame(InitFrameType.Ended, new byte[36]), Cancellation);
        await Assert.ThrowsAsync<InitProtocolException>(() => _channel.ReadEventAsync(Cancellation).AsTask());
    }

    [Fact]
    public async Task SendFileAsync_to_a_dead_pid_1_succeeds_and_ReadEventAsync_returns_its_last_event()
    {
        await _guest.SendAsync(
            (byte[])[.. Frame(InitFrameType.Ready, InitFrames.U32(InitProtocol.Version)), .. Frame(InitFrameType.Fault, [.. InitFrames.U32(28), .. InitFrames.Text("mount")])],
            Cancellation);
        await _channel.ReadReadyAsync(Cancellation);
        _guest.Dispose();
        await _channel.StartAsync(InitFrames.Start("a"), Cancellation);
        using var content = new MemoryStream(new byte[10 << 20]);
        await _channel.SendFileAsync("/a", executable: false, content, Cancellation);
        await _channel.GoAsync(Cancellation);
        Assert.Equal(new InitFault("mount", 28), await _channel.ReadEventAsync(Cancellation));
        Assert.IsType<InitClosed>(await _channel.ReadEventAsync(Cancellation));
    }

    [Fact]
    public async Task StartAsync_cancelled_within_a_frame_closes_the_sending_side()
    {
        await _guest.SendAsync(Frame(InitFrameType.Ready, InitFrames.U32(InitProtocol.Version)), Cancellation);
        await _channel.ReadReadyAsync(Cancellation);
        using var cancellation = new CancellationTokenSource();
        // The test does not read, so 4 MB do not fit into the socket.
        Task sending = _channel.StartAsync(InitFrames.Start("a", new string('a', 4_000_000)), cancellation.Token);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => sending);
        await _channel.GoAsync(Cancellation);

        byte[] buffer = new byte[1 << 20];
        long received = 0;
        int read;
        while ((read = await _guest.ReceiveAsync(buffer, Cancellation)) > 0)
        {
            received += read;
        }

        Assert.True(received < 4_000_000, "The frame was cut off and nothing came after it.");
    }

    [Fact]
    public async Task ReadEventAsync_throws_only_protocol_exceptions_for_garbage() =>
        await Gen.Byte.Array[0, 200].SampleAsync(
            async garbage =>
            {
                await using var test = new InitChannelTests();
                await test.InitializeAsync();
                await test._guest.SendAsync(garbage, CancellationToken.None);
                test._guest.Shutdown(SocketShutdown.Both);
                try
                {
                    while (await test._channel.ReadEventAsync(CancellationToken.None) is not InitClosed)
                    {
                    }
                }
                catch (InitProtocolException)
                {
                }
            },
            iter: 200);

    private static byte[] Frame(InitFrameType type, params byte[] payload)
    {
        byte[] frame = new byte[InitProtocol.HeaderSize + payload.Length];
        InitProtocol.WriteHeader(frame, type, payload.Length);
        payload.CopyTo(frame.AsSpan(InitProtocol.HeaderSize));
        return frame;
    }
}
