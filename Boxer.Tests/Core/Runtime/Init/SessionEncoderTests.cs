using Boxer.Runtime.Init;
using static Boxer.Tests.Core.Runtime.Init.InitFrames;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>Session frames to PID 1 have the layout of PROTOCOL.md.</summary>
public sealed class SessionEncoderTests
{
    private static readonly InitIdentity Nobody = new(65534, 65533, [3]);

    private static SessionExec Exec => new() { Arguments = ["a"], User = Nobody };

    [Fact]
    public void EncodeOpen_has_the_layout_of_START()
    {
        InitStart start = Start("a");
        byte[] frame = InitEncoder.EncodeOpen(start with { Arguments = [] });

        Assert.Equal(0x0D, frame[4]);
        Assert.Equal(InitEncoder.EncodeStart(start)[6..8], frame[6..8]);
        Assert.Equal(InitEncoder.EncodeStart(start).Length - Text("a").Length, frame.Length);
    }

    [Fact]
    public void EncodeOpen_rejects_a_plan_with_a_command_outputs_or_changes()
    {
        Assert.Throws<ArgumentException>(() => InitEncoder.EncodeOpen(Start("a")));
        Assert.Throws<ArgumentException>(() => InitEncoder.EncodeOpen(Start() with { Environment = ["A=b"] }));
        Assert.Throws<ArgumentException>(() => InitEncoder.EncodeOpen(Start() with { Outputs = new("/output", 1, 1) }));
        Assert.Throws<ArgumentException>(() => InitEncoder.EncodeOpen(Start() with { MergeOutput = true }));
        Assert.Throws<ArgumentException>(() => InitEncoder.EncodeOpen(Start() with { WorkingDirectory = "w" }));
    }

    [Fact]
    public void EncodeExec_has_the_layout_of_the_protocol_page()
    {
        byte[] identity = [.. U32(65534), .. U32(65533), .. U64(0), .. U32(1), .. U32(3)];
        byte[] limits = [.. U32(1), .. U32(6), .. U64(64), .. U64(65)];
        byte[] command = [.. Text("/w"), .. U32(2), .. Text("a"), .. Text(""), .. U32(1), .. Text("B=ü")];
        SessionExec exec = Exec with { Arguments = ["a", ""], Environment = ["B=ü"], WorkingDirectory = "/w", ResourceLimits = [new(InitResource.Processes, 64, 65)] };

        AssertFrame(0x10, [.. U32(7), .. U32(0), .. U32(1), .. U32(0), .. U32(0), .. identity, .. limits, .. command], SessionEncoder.EncodeExec(7, exec with { MergeOutput = true }));
        AssertFrame(
            0x10,
            [.. U32(7), .. U32(2), .. U32(0), .. U32(120), .. U32(40), .. identity, .. limits, .. command],
            SessionEncoder.EncodeExec(7, exec with { Streams = SessionStreams.Terminal, Columns = 120, Rows = 40 }));
    }

    [Fact]
    public void Other_frames_have_the_layout_of_the_protocol_page()
    {
        AssertFrame(0x11, [.. U32(7), .. U32(9), .. U32(1)], SessionEncoder.EncodeSignal(7, 9, wholeSession: true));
        AssertFrame(0x12, [.. U32(7), 1, 2], SessionEncoder.EncodeInput(7, [1, 2]));
        AssertFrame(0x13, U32(7), SessionEncoder.EncodeId(InitFrameType.InputEnd, 7));
        AssertFrame(0x14, [.. U32(7), .. U32(2), .. U32(1 << 24)], SessionEncoder.EncodeCredit(7, SessionStream.Error, 1 << 24));
        AssertFrame(0x15, [.. U32(7), .. U32(80), .. U32(24)], SessionEncoder.EncodeResize(7, 80, 24));
        AssertFrame(0x16, [.. U32(7), .. U32(1), .. U32(7), .. U64(1), .. U64(2)], SessionEncoder.EncodeLimits(7, [new(InitResource.OpenFiles, 1, 2)]));
        AssertFrame(0x17, [.. U32(7), .. U32(6), .. U32(8080)], SessionEncoder.EncodeConnect(7, 6, 8080));
        AssertFrame(0x18, U32(7), SessionEncoder.EncodeId(InitFrameType.Release, 7));
        AssertFrame(0x19, [.. U32(7), .. U32(65534), .. U32(65533), .. U64(0), .. U32(1), .. U32(3)], SessionEncoder.EncodeFiles(7, Nobody));
        AssertFrame(0x1A, U32(5), SessionEncoder.EncodeTag(InitFrameType.Usage, 5));
        AssertFrame(0x1B, [.. U32(5), .. U32(7)], SessionEncoder.EncodeProcessUsage(5, 7));
        AssertFrame(0x1C, U32(5), SessionEncoder.EncodeTag(InitFrameType.Quiesce, 5));
    }

    public static TheoryData<string, object> BadExecs() => new()
    {
        { "no command", Exec with { Arguments = [] } },
        { "empty program", Exec with { Arguments = [""] } },
        { "NUL in an argument", Exec with { Arguments = ["a", "b\0c"] } },
        { "reserved user", Exec with { User = Nobody with { UserId = InitProtocol.ReservedId } } },
        { "capabilities of a user", Exec with { User = Nobody with { Capabilities = InitCapabilities.Kill } } },
        { "relative directory", Exec with { WorkingDirectory = "w" } },
        { "a terminal without size", Exec with { Streams = SessionStreams.Terminal } },
        { "a terminal that is too wide", Exec with { Streams = SessionStreams.Terminal, Columns = 65_536, Rows = 1 } },
        { "a size without a terminal", Exec with { Columns = 80, Rows = 24 } },
        { "too many limits", Exec with { ResourceLimits = [.. Enumerable.Repeat(new InitResourceLimit(InitResource.Core, 0, 0), 65)] } },
        { "too long", Exec with { Arguments = ["a", new string('a', InitProtocol.MaxStartPayload)] } },
    };

    [Theory]
    [MemberData(nameof(BadExecs), DisableDiscoveryEnumeration = true)]
    public void EncodeExec_rejects_values_that_exceed_a_limit(string fault, object exec)
    {
        Assert.NotEmpty(fault);
        Assert.Throws<ArgumentException>(() => SessionEncoder.EncodeExec(1, (SessionExec)exec));
    }

    [Fact]
    public void Other_frames_reject_values_that_exceed_a_limit()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => SessionEncoder.EncodeExec(0, Exec));
        Assert.Throws<ArgumentOutOfRangeException>(() => SessionEncoder.EncodeSignal(1, 65, wholeSession: false));
        Assert.Throws<ArgumentException>(() => SessionEncoder.EncodeInput(1, []));
        Assert.Throws<ArgumentException>(() => SessionEncoder.EncodeInput(1, new byte[SessionEncoder.MaxInput + 1]));
        Assert.Throws<ArgumentOutOfRangeException>(() => SessionEncoder.EncodeCredit(1, SessionStream.Output, (1 << 24) + 1));
        Assert.Throws<ArgumentException>(() => SessionEncoder.EncodeResize(1, 0, 24));
        Assert.Throws<ArgumentOutOfRangeException>(() => SessionEncoder.EncodeConnect(1, 4, 65_536));
        Assert.Throws<ArgumentException>(() => SessionEncoder.EncodeFiles(1, Nobody with { GroupId = uint.MaxValue }));
    }

    private static void AssertFrame(byte type, byte[] payload, byte[] frame) =>
        Assert.Equal([.. U32((uint)payload.Length), type, 0, 1, 0, .. payload], frame);
}
