using System.Net.Sockets;
using Boxer.Runtime.Init;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>Sessions of boxer-init built with the address and undefined-behaviour sanitizers, on Linux.</summary>
[Slow]
public sealed class SessionNativeTests(InitFixture fixture) : SessionTests, IClassFixture<InitFixture>
{
    private const int Rounds = 60;

    private protected override async Task<SessionSandbox> OpenAsync() =>
        await SessionSandbox.OpenAsync(await InitNative.BootAsync(fixture), SessionSandbox.Open(User));

    [Fact]
    public async Task Damaged_frames_of_a_session_never_crash_or_hang_PID_1()
    {
        const int Seed = 20_261_130;
        var random = new Random(Seed);
        for (int round = 0; round < Rounds; round++)
        {
            await using SessionSandbox session = await OpenAsync();
            byte[] bytes = Damage(random);
            try
            {
                await session.Sandbox.Socket.SendAsync(bytes, TestContext.Current.CancellationToken);
                session.Sandbox.Socket.Shutdown(SocketShutdown.Send);
            }
            catch (SocketException)
            {
                // PID 1 has found the damage and is gone.
            }

            await DrainAsync(session.Sandbox.Socket);
            int code = await session.Sandbox.WaitAsync();
            Assert.True(code is 0 or 1, $"Seed {Seed}, round {round}: exit code {code} after {Convert.ToHexString(bytes)}");
        }
    }

    // Frames of a session of which some bytes are changed, moved or missing.
    private static byte[] Damage(Random random)
    {
        SessionExec command = SessionSandbox.Command(User, "sh", "-c", "cat; echo x") with { Streams = SessionStreams.Relayed };
        byte[][] frames =
        [
            SessionEncoder.EncodeExec(1, command), SessionEncoder.EncodeExec(2, command with { MergeOutput = true }),
            SessionEncoder.EncodeExec(3, command with { Streams = SessionStreams.Terminal, Columns = 80, Rows = 24 }),
            SessionEncoder.EncodeExec(4, command with { Streams = SessionStreams.Descriptors }), SessionEncoder.EncodeFiles(5, command.User),
            SessionEncoder.EncodeConnect(6, 4, 80), SessionEncoder.EncodeConnect(7, 6, 80), SessionEncoder.EncodeCredit(1, SessionStream.Output, 100),
            SessionEncoder.EncodeCredit(2, SessionStream.Error, 100), SessionEncoder.EncodeInput(1, "input"u8), SessionEncoder.EncodeInput(2, new byte[40_000]),
            SessionEncoder.EncodeId(InitFrameType.InputEnd, 1), SessionEncoder.EncodeSignal(2, 15, wholeSession: true), SessionEncoder.EncodeResize(3, 1, 2),
            SessionEncoder.EncodeLimits(1, command.ResourceLimits), SessionEncoder.EncodeId(InitFrameType.Release, 2), SessionEncoder.EncodeTag(InitFrameType.Usage, 1),
            SessionEncoder.EncodeTag(InitFrameType.Quiesce, 2), SessionEncoder.EncodeProcessUsage(3, 1), SessionEncoder.EncodeId(InitFrameType.Release, 6),
        ];
        List<byte> all = [];
        for (int count = random.Next(3, 40); count > 0; count--)
        {
            byte[] frame = [.. frames[count % 3 == 0 ? 0 : random.Next(frames.Length)]];
            if (random.Next(6) == 0)
            {
                frame[random.Next(frame.Length)] = random.Next(3) switch { 0 => 0, 1 => 0xFF, _ => (byte)random.Next(256) };
            }

            all.AddRange(random.Next(20) == 0 ? frame[..random.Next(frame.Length)] : frame);
        }

        return [.. all];
    }

    private static async Task DrainAsync(Socket socket)
    {
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        byte[] buffer = new byte[65_536];
        try
        {
            while (await socket.ReceiveAsync(buffer, deadline.Token) > 0)
            {
                // PID 1 answers until it is gone.
            }
        }
        catch (SocketException exception) when (exception.SocketErrorCode == SocketError.ConnectionReset)
        {
            // PID 1 closed the socket with unread frames of the test.
        }
    }
}
