using System.Text;
using Boxer.Runtime.Init;
using CsCheck;
using static Boxer.Tests.Core.Runtime.Init.InitFrames;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>Frames of PID 1 are decoded or rejected, whatever they contain.</summary>
public sealed class InitDecoderTests
{
    [Fact]
    public void Decode_reads_every_frame_of_pid_1()
    {
        Assert.Equal(new InitReady(1), Decode(InitFrameType.Ready, U32(1)));
        Assert.Equal(new InitStarted(), Decode(InitFrameType.Started));
        Assert.Equal(new InitNotStarted(InitStage.Execute, 2), Decode(InitFrameType.NotStarted, U32(11), U32(2)));
        Assert.Equal(new InitFileFailed("/a", 28), Decode(InitFrameType.FileFailed, U32(28), Text("/a")));
        Assert.Equal(
            new InitEnded { ExitCode = 7, UserCpu = TimeSpan.FromMicroseconds(5), SystemCpu = TimeSpan.FromMicroseconds(6), MaxResidentBytes = 8, IsTmpfsFull = true, TasksAtKill = 9 },
            Decode(InitFrameType.Ended, U32(0), U32(7), U64(5), U64(6), U64(8), U32(1), U32(9)));
        Assert.Equal(new InitEnded { Signal = 9 }, Decode(InitFrameType.Ended, U32(1), U32(9), U64(0), U64(0), U64(0), U32(0), U32(0)));
        Assert.Equal(new InitOutputDirectory("a", 0x1ED), Decode(InitFrameType.OutputDirectory, U32(0x1ED), Text("a")));
        Assert.Equal(
            new InitOutputFile("a/ü", 0x1A4, 9, new DateTimeOffset(2001, 9, 9, 1, 46, 40, TimeSpan.Zero).AddTicks(5)),
            Decode(InitFrameType.OutputFile, U32(0x1A4), U64(9), U64(1_000_000_000), U32(599), Text("a/ü")));
        Assert.Equal("hi"u8.ToArray(), ((InitOutputData)Decode(InitFrameType.OutputData, "hi"u8.ToArray())).Data.ToArray());
        Assert.Equal(new InitOutputTruncated(InitTruncation.Depth, 3), Decode(InitFrameType.OutputTruncated, U32(3), U64(3)));
        Assert.Equal(new InitOutputLink("a/ü", "../b"), Decode(InitFrameType.OutputLink, Text("../b"), Text("a/ü")));
        Assert.Equal(new InitOutputDone(), Decode(InitFrameType.OutputDone));
        Assert.Equal(new InitWarmedUp(InitWarmUpEnd.NotStarted, 2), Decode(InitFrameType.WarmedUp, U32(2), U32(2)));
        Assert.Equal(new InitFault("mount ?", 5), Decode(InitFrameType.Fault, U32(5), Text("mount \u001b")));
    }

    public static TheoryData<string, ushort, byte[]> BadFrames()
    {
        byte[] zero = new byte[24];
        return new()
        {
            { "unknown type", 0x9000, [] },
            { "a type of the host", 0x0001, [] },
            { "short", 0x8001, [1] },
            { "bytes too many", 0x8002, [0] },
            { "version 0", 0x8001, U32(0) },
            { "unknown end of a warm-up", 0x800C, [.. U32(3), .. U32(0)] },
            { "unknown stage", 0x8003, [.. U32(99), .. U32(1)] },
            { "errno 0", 0x8003, [.. U32(11), .. U32(0)] },
            { "errno absurd", 0x8003, [.. U32(11), .. U32(5000)] },
            { "exit code 256", 0x8005, [.. U32(0), .. U32(256), .. zero, .. U32(0), .. U32(0)] },
            { "signal 0", 0x8005, [.. U32(1), .. U32(0), .. zero, .. U32(0), .. U32(0)] },
            { "signal 65", 0x8005, [.. U32(1), .. U32(65), .. zero, .. U32(0), .. U32(0)] },
            { "kind of end", 0x8005, [.. U32(2), .. U32(1), .. zero, .. U32(0), .. U32(0)] },
            { "time absurd", 0x8005, [.. U32(0), .. U32(0), .. U64(ulong.MaxValue), .. U64(0), .. U64(0), .. U32(0), .. U32(0)] },
            { "negative size", 0x8007, [.. U32(0), .. U64(ulong.MaxValue), .. U64(0), .. U32(0), .. Text("a")] },
            { "mode with setuid", 0x8007, [.. U32(0x9ED), .. U64(0), .. U64(0), .. U32(0), .. Text("a")] },
            { "a second and more of nanoseconds", 0x8007, [.. U32(0), .. U64(0), .. U64(0), .. U32(1_000_000_000), .. Text("a")] },
            { "empty path", 0x8006, [.. U32(0), .. Text("")] },
            { "absolute path", 0x8006, [.. U32(0), .. Text("/etc")] },
            { "dot-dot", 0x8006, [.. U32(0), .. Text("a/../../b")] },
            { "dot", 0x8006, [.. U32(0), .. Text("./a")] },
            { "empty name", 0x8006, [.. U32(0), .. Text("a//b")] },
            { "trailing slash", 0x8006, [.. U32(0), .. Text("a/")] },
            { "NUL", 0x8006, [.. U32(0), .. Text("a\0b")] },
            { "no NUL at the end", 0x8006, [.. U32(0), .. U32(1), (byte)'a', (byte)'b'] },
            { "not UTF-8", 0x8006, [.. U32(0), .. U32(2), 0xC3, 0x28, 0] },
            { "long name", 0x8006, [.. U32(0), .. Text(new string('a', 256))] },
            { "long path", 0x8006, [.. U32(0), .. Text(string.Join('/', Enumerable.Repeat("aaaaaaa", 520)))] },
            { "length past the end", 0x8006, [.. U32(0), .. U32(4000), (byte)'a', 0] },
            { "length near 2^32", 0x8006, [.. U32(0), .. U32(uint.MaxValue), (byte)'a', 0] },
            { "a link to nothing", 0x800D, [.. Text(""), .. Text("a")] },
            { "a link with a path that leads out", 0x800D, [.. Text("b"), .. Text("../a")] },
            { "no data", 0x8008, [] },
            { "unknown reason", 0x8009, [.. U32(7), .. U64(1)] },
            { "nothing left out", 0x8009, [.. U32(1), .. U64(0)] },
        };
    }

    [Theory]
    [MemberData(nameof(BadFrames))]
    public void Decode_rejects_malformed_frames(string fault, ushort type, byte[] payload)
    {
        Assert.NotEmpty(fault);
        Assert.Throws<InitProtocolException>(() => InitDecoder.Decode((InitFrameType)type, payload));
    }

    [Fact]
    public void Decode_throws_only_protocol_exceptions_for_garbage() =>
        Gen.Select(Gen.UShort[0x8000, 0x8010], Gen.Byte.Array[0, 300]).Sample((type, payload) =>
        {
            try
            {
                InitDecoder.Decode((InitFrameType)type, payload);
            }
            catch (InitProtocolException)
            {
            }
        });

    [Fact]
    public void Decode_throws_only_protocol_exceptions_for_garbage_with_plausible_numbers() =>
        Gen.Select(Gen.UShort[0x8001, 0x800B], Gen.UInt[0, 12].Array[0, 12], Gen.Byte.Array[0, 20]).Sample((type, numbers, tail) =>
        {
            try
            {
                InitDecoder.Decode((InitFrameType)type, (byte[])[.. numbers.SelectMany(U32), .. tail]);
            }
            catch (InitProtocolException)
            {
            }
        });

    [Fact]
    public void Decode_returns_a_clean_output_path_or_rejects_it() =>
        Gen.String[0, 40].Sample(path =>
        {
            bool clean = path.Length > 0 && !path.Contains('\0') && path.Split('/').All(name => name is not ("" or "." or ".."))
                && !HasLoneSurrogate(path);
            byte[] payload = [.. U32(0), .. Text(path)];
            if (clean)
            {
                return ((InitOutputDirectory)InitDecoder.Decode(InitFrameType.OutputDirectory, payload)).Path == path;
            }

            // A lone surrogate is U+FFFD after encoding, which is a path like any other.
            return HasLoneSurrogate(path) || Record.Exception(() => InitDecoder.Decode(InitFrameType.OutputDirectory, payload)) is InitProtocolException;
        });

    private static bool HasLoneSurrogate(string text) => text.EnumerateRunes().Any(rune => rune == Rune.ReplacementChar);

    private static InitEvent Decode(InitFrameType type, params byte[][] parts) =>
        InitDecoder.Decode(type, parts.SelectMany(part => part).ToArray());
}
