using System.Buffers.Binary;
using System.Text;
using Boxer.Runtime.Init;
using CsCheck;

namespace Boxer.Tests.Core.Runtime.Init;

public sealed class InitProtocolTests
{
    internal static InitStart Start(params string[] arguments) => new() { Arguments = arguments, UserId = 65534, GroupId = 65534, MemoryBytes = 1 << 28, CpuQuota = 100_000 };

    internal static byte[] Text(string value) => [.. U32((uint)Encoding.UTF8.GetByteCount(value)), .. Encoding.UTF8.GetBytes(value), 0];

    internal static byte[] U32(uint value)
    {
        byte[] bytes = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return bytes;
    }

    internal static byte[] U64(ulong value)
    {
        byte[] bytes = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return bytes;
    }

    [Fact]
    public void Start_has_the_layout_that_the_protocol_page_gives()
    {
        var start = new InitStart
        {
            Arguments = ["a"],
            Environment = ["B=ü"],
            WorkingDirectory = "/w",
            UserId = 0,
            GroupId = 2,
            Capabilities = InitCapabilities.ChangeOwner | InitCapabilities.SetFileCapabilities,
            SupplementaryGroups = [3],
            ResourceLimits = [new(InitResource.Processes, 64, 65)],
            Hostname = "h",
            Tmpfs = [new("/tmp", 0x3FF, 1, 2, InitTmpfsKind.UnlessUsed), new("/w", 0x1ED, 1, 2, InitTmpfsKind.Workspace)],
            TmpfsBytes = 4096,
            TextFiles = [new("/etc/hosts", "x"u8.ToArray())],
            Outputs = new("/output", 10, 5),
            MemoryBytes = 1L << 32,
            CpuQuota = 50_000,
            MergeOutput = true,
            ChangeBytes = 7,
            ChangeEntries = 8,
        };
        byte[] payload =
        [
            .. U32(0), .. U32(2), .. U64(0x8000_0001), .. U32(1), .. U32(3), .. U32(1), .. U32(6), .. U64(64), .. U64(65), .. Text("h"),
            .. Text("/w"), .. U64(4096), .. U32(2), .. Text("/tmp"), .. U32(0x3FF), .. U32(1), .. U32(2), .. U32(1),
            .. Text("/w"), .. U32(0x1ED), .. U32(1), .. U32(2), .. U32(2), .. U32(1),
            .. Text("/etc/hosts"), .. U32(1), (byte)'x', .. Text("/output"), .. U64(10), .. U32(5), .. U32(1), .. Text("a"), .. U32(1),
            .. Text("B=ü"), .. U64(1L << 32), .. U32(50_000), .. U32(1), .. U64(7), .. U32(8),
        ];
        byte[] expected = [.. U32((uint)payload.Length), 1, 0, 4, 0, .. payload];
        Assert.Equal(expected, InitEncoder.EncodeStart(start));
    }

    public static TheoryData<string, object> BadStarts() => new()
    {
        { "no command", Start() },
        { "empty program", Start("") },
        { "NUL in an argument", Start("a", "b\0c") },
        { "NUL in the environment", Start("a") with { Environment = ["A=\0"] } },
        { "reserved user", Start("a") with { UserId = InitProtocol.ReservedId } },
        { "reserved group", Start("a") with { GroupId = InitProtocol.ReservedId } },
        { "reserved supplementary group", Start("a") with { SupplementaryGroups = [InitProtocol.ReservedId] } },
        { "user 0 in a group that is not mapped", Start("a") with { UserId = 0, GroupId = 65_536 } },
        { "user 0 with a supplementary group that is not mapped", Start("a") with { UserId = 0, SupplementaryGroups = [1, 65_536] } },
        { "user -1", Start("a") with { UserId = uint.MaxValue } },
        { "capabilities for another user than 0", Start("a") with { Capabilities = InitCapabilities.All } },
        { "a capability that is never given", Start("a") with { UserId = 0, Capabilities = (InitCapabilities)(1ul << 21) } },
        { "relative directory", Start("a") with { WorkingDirectory = "w" } },
        { "dot-dot", Start("a") with { WorkingDirectory = "/w/../x" } },
        { "root as tmpfs", Start("a") with { Tmpfs = [new("/", 0, 0, 0)] } },
        { "tmpfs without size", Start("a") with { TmpfsBytes = 0 } },
        { "tmpfs mode", Start("a") with { Tmpfs = [new("/tmp", 0x1000, 0, 0)] } },
        { "trailing slash", Start("a") with { TextFiles = [new("/etc/", default)] } },
        { "long name", Start("a") with { TextFiles = [new("/" + new string('a', 256), default)] } },
        { "long host name", Start("a") with { Hostname = new string('a', 65) } },
        { "negative output bytes", Start("a") with { Outputs = new("/output", -1, 0) } },
        { "changes of no workspace", Start("a") with { ChangeEntries = 1 } },
        { "two workspaces", Start("a") with { Tmpfs = [new("/a", 0, 0, 0, InitTmpfsKind.Workspace), new("/b", 0, 0, 0, InitTmpfsKind.Workspace)] } },
        { "no memory", Start("a") with { MemoryBytes = 1_023 } },
        { "no processor time", Start("a") with { CpuQuota = 0 } },
        { "too long", Start("a", new string('a', InitProtocol.MaxStartPayload)) },
        { "too many strings", Start([.. Enumerable.Repeat("a", InitProtocol.MaxStrings + 1)]) },
    };

    [Theory]
    [MemberData(nameof(BadStarts), DisableDiscoveryEnumeration = true)]
    public void Start_that_breaks_a_bound_is_refused(string fault, object start)
    {
        Assert.NotEmpty(fault);
        Assert.Throws<ArgumentException>(() => InitEncoder.EncodeStart((InitStart)start));
    }

    [Theory]
    [InlineData("")]
    [InlineData("/")]
    [InlineData("a")]
    [InlineData("//a")]
    [InlineData("/a/./b")]
    [InlineData("/a/../b")]
    [InlineData("/a\0")]
    public void File_path_that_is_not_clean_is_refused(string path) =>
        Assert.Throws<ArgumentException>(() => InitEncoder.EncodeFileBegin(path, executable: false));

    [Theory]
    [InlineData("")]
    [InlineData("/a")]
    [InlineData("a//b")]
    [InlineData("a/../b")]
    [InlineData("a\0")]
    public void Path_of_an_entry_that_is_not_clean_is_refused(string path) =>
        Assert.Throws<ArgumentException>(() => InitEncoder.EncodeTreeEntry(InitFrameType.TreeFile, 0, 0, 0, path));

    [Fact]
    public void Entries_of_a_workspace_have_the_layout_that_the_protocol_page_gives()
    {
        byte[] entry = [.. U32(0x1ED), .. U64(unchecked((ulong)-2)), .. U32(3), .. Text("a/b")];
        Assert.Equal([.. U32((uint)entry.Length), 9, 0, 1, 0, .. entry], InitEncoder.EncodeTreeEntry(InitFrameType.TreeDirectory, 0x1ED, -2, 3, "a/b"));
        byte[] link = [.. entry, .. Text("../c")];
        Assert.Equal([.. U32((uint)link.Length), 11, 0, 1, 0, .. link], InitEncoder.EncodeTreeEntry(InitFrameType.TreeLink, 0x1ED, -2, 3, "a/b", "../c"));
    }

    [Fact]
    public void Every_frame_of_pid_1_round_trips()
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
    public void Frame_that_is_not_well_formed_is_refused(string fault, ushort type, byte[] payload)
    {
        Assert.NotEmpty(fault);
        Assert.Throws<InitProtocolException>(() => InitDecoder.Decode((InitFrameType)type, payload));
    }

    [Fact]
    public void Header_bounds_the_payload_before_anything_is_read()
    {
        Assert.Throws<InitProtocolException>(() => InitProtocol.ReadHeader([0xFF, 0xFF, 0xFF, 0xFF, 0x08, 0x80, 1, 0]));
        Assert.Throws<InitProtocolException>(() => InitProtocol.ReadHeader([1, 0, 1, 0, 0x08, 0x80, 1, 0]));
        Assert.Throws<InitProtocolException>(() => InitProtocol.ReadHeader([0, 0, 0, 0, 0x08, 0x80, 2, 0]));
        Assert.Equal((InitFrameType.OutputData, InitProtocol.MaxPayload), InitProtocol.ReadHeader([0, 0, 1, 0, 0x08, 0x80, 1, 0]));
    }

    [Fact]
    public void Garbage_never_does_worse_than_a_protocol_exception() =>
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
    public void Garbage_with_plausible_numbers_never_does_worse_than_a_protocol_exception() =>
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
    public void Output_paths_round_trip_or_are_refused() =>
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
