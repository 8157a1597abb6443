using Boxer.Runtime.Init;
using CsCheck;
using static Boxer.Tests.Core.Runtime.Init.InitFrames;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>Session frames of PID 1 are decoded or rejected, whatever they contain.</summary>
public sealed class SessionDecoderTests
{
    [Fact]
    public void Decode_reads_every_session_frame_of_pid_1()
    {
        Assert.Equal(new InitOpened(), Decode(InitFrameType.Opened));
        Assert.Equal(new SessionProcessStarted(7, 12), Decode(InitFrameType.ProcessStarted, U32(7), U32(12)));
        Assert.Equal(new SessionProcessNotStarted(7, InitStage.Streams, 24), Decode(InitFrameType.ProcessNotStarted, U32(7), U32(13), U32(24)));
        Assert.Equal(
            new SessionProcessEnded(7) { ExitCode = 3, UserCpu = TimeSpan.FromMicroseconds(5), SystemCpu = TimeSpan.FromMicroseconds(6), MaxResidentBytes = 8, LeftBehind = 2, IsTmpfsFull = true },
            Decode(InitFrameType.ProcessEnded, U32(7), U32(0), U32(3), U64(5), U64(6), U64(8), U32(2), U32(1)));
        Assert.Equal(new SessionProcessEnded(7) { Signal = 9 }, Decode(InitFrameType.ProcessEnded, U32(7), U32(1), U32(9), U64(0), U64(0), U64(0), U32(0), U32(0)));
        var output = (SessionOutput)Decode(InitFrameType.Output, U32(7), U32(2), "hi"u8.ToArray());
        Assert.Equal((7, SessionStream.Error), (output.Id, output.Stream));
        Assert.Equal("hi"u8.ToArray(), output.Data.ToArray());
        Assert.Equal(new SessionOutputEnd(7, SessionStream.Output), Decode(InitFrameType.OutputEnd, U32(7), U32(1)));
        Assert.Equal(new SessionConnected(7), Decode(InitFrameType.Connected, U32(7)));
        Assert.Equal(new SessionNotConnected(7, 111), Decode(InitFrameType.NotConnected, U32(7), U32(111)));
        Assert.Equal(new SessionInputTaken(7, 65_536), Decode(InitFrameType.InputTaken, U32(7), U32(65_536)));
        Assert.Equal(new SessionClosed(7, 0), Decode(InitFrameType.Closed, U32(7), U32(0)));
        Assert.Equal(new SessionLimitsSet(7, 3), Decode(InitFrameType.ProcessLimitsSet, U32(7), U32(3)));
        Assert.Equal(new SessionUsageReport(uint.MaxValue, 1L << 40), Decode(InitFrameType.UsageReport, U32(uint.MaxValue), U64(1UL << 40)));
        Assert.Equal(new SessionProcessUsage(5, 7, TimeSpan.FromMilliseconds(1), 2), Decode(InitFrameType.ProcessUsageReport, U32(5), U32(7), U64(1_000), U32(2)));
        Assert.Equal([7, 8], ((SessionQuiet)Decode(InitFrameType.Quiet, U32(5), U32(2), U32(7), U32(8))).Holders);
    }

    public static TheoryData<string, ushort, byte[]> BadFrames() => new()
    {
        { "a type after the last", 0x801D, [] },
        { "a type of the host", 0x0010, U32(1) },
        { "a reserved type", 0x8040, U32(1) },
        { "opened with a payload", 0x800E, U32(1) },
        { "id 0", 0x8015, U32(0) },
        { "id 2^31", 0x8015, U32(1u << 31) },
        { "PID 1 as a command", 0x8010, [.. U32(7), .. U32(1)] },
        { "stage 6", 0x8011, [.. U32(7), .. U32(6), .. U32(1)] },
        { "errno 0 of a failure", 0x8016, [.. U32(7), .. U32(0)] },
        { "errno absurd", 0x8018, [.. U32(7), .. U32(5_000)] },
        { "signal 0", 0x8012, [.. U32(7), .. U32(1), .. U32(0), .. new byte[32]] },
        { "time absurd", 0x8012, [.. U32(7), .. U32(0), .. U32(0), .. U64(ulong.MaxValue), .. new byte[24]] },
        { "negative number of processes", 0x801A, [.. U32(5), .. U64(0), .. U32(uint.MaxValue)] },
        { "negative disk space", 0x801A, [.. U32(5), .. U64(ulong.MaxValue), .. U32(0)] },
        { "stream 0", 0x8014, [.. U32(7), .. U32(0)] },
        { "stream 3", 0x8013, [.. U32(7), .. U32(3), 1] },
        { "output without data", 0x8013, [.. U32(7), .. U32(1)] },
        { "output that is cut off", 0x8013, U32(7) },
        { "no input taken", 0x8017, [.. U32(7), .. U32(0)] },
        { "more input taken than the window", 0x8017, [.. U32(7), .. U32(65_537)] },
        { "fewer ids than counted", 0x801C, [.. U32(5), .. U32(2), .. U32(7)] },
        { "2^32 ids", 0x801C, [.. U32(5), .. U32(uint.MaxValue), .. U32(7)] },
    };

    [Theory]
    [MemberData(nameof(BadFrames))]
    public void Decode_rejects_malformed_frames(string fault, ushort type, byte[] payload)
    {
        Assert.NotEmpty(fault);
        Assert.Throws<InitProtocolException>(() => InitDecoder.Decode((InitFrameType)type, payload));
    }

    [Fact]
    public void Decode_throws_only_protocol_exceptions_for_garbage() =>
        Gen.Select(Gen.UShort[0x800D, 0x8050], Gen.UInt[0, 12].Array[0, 12], Gen.Byte.Array[0, 40]).Sample((type, numbers, tail) =>
        {
            try
            {
                InitDecoder.Decode((InitFrameType)type, (byte[])[.. numbers.SelectMany(U32), .. tail]);
            }
            catch (InitProtocolException)
            {
            }
        });

    private static InitEvent Decode(InitFrameType type, params byte[][] parts) =>
        InitDecoder.Decode(type, parts.SelectMany(part => part).ToArray());
}
