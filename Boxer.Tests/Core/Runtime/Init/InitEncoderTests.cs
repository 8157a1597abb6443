using Boxer.Runtime.Init;
using static Boxer.Tests.Core.Runtime.Init.InitFrames;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>Frames to PID 1 have the layout of PROTOCOL.md.</summary>
public sealed class InitEncoderTests
{
    [Fact]
    public void EncodeStart_has_the_layout_of_the_protocol_page()
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
            Terminal = new SandboxTerminal(120, 40),
        };
        byte[] payload =
        [
            .. U32(0), .. U32(2), .. U64(0x8000_0001), .. U32(1), .. U32(3), .. U32(1), .. U32(6), .. U64(64), .. U64(65), .. Text("h"),
            .. Text("/w"), .. U64(4096), .. U32(2), .. Text("/tmp"), .. U32(0x3FF), .. U32(1), .. U32(2), .. U32(1),
            .. Text("/w"), .. U32(0x1ED), .. U32(1), .. U32(2), .. U32(2), .. U32(1),
            .. Text("/etc/hosts"), .. U32(1), (byte)'x', .. Text("/output"), .. U64(10), .. U32(5), .. U32(1), .. Text("a"), .. U32(1),
            .. Text("B=ü"), .. U64(1L << 32), .. U32(50_000), .. U32(1), .. U64(7), .. U32(8), .. U32(120), .. U32(40),
        ];
        byte[] expected = [.. U32((uint)payload.Length), 1, 0, 5, 0, .. payload];
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
    public void EncodeStart_rejects_values_that_exceed_a_limit(string fault, object start)
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
    public void EncodeFileBegin_rejects_a_path_that_is_not_clean(string path) =>
        Assert.Throws<ArgumentException>(() => InitEncoder.EncodeFileBegin(path, executable: false));

    [Theory]
    [InlineData("")]
    [InlineData("/a")]
    [InlineData("a//b")]
    [InlineData("a/../b")]
    [InlineData("a\0")]
    public void EncodeTreeEntry_rejects_a_path_that_is_not_clean(string path) =>
        Assert.Throws<ArgumentException>(() => InitEncoder.EncodeTreeEntry(InitFrameType.TreeFile, 0, 0, 0, path));

    [Fact]
    public void EncodeTreeEntry_has_the_layout_of_the_protocol_page()
    {
        byte[] entry = [.. U32(0x1ED), .. U64(unchecked((ulong)-2)), .. U32(3), .. Text("a/b")];
        Assert.Equal([.. U32((uint)entry.Length), 9, 0, 1, 0, .. entry], InitEncoder.EncodeTreeEntry(InitFrameType.TreeDirectory, 0x1ED, -2, 3, "a/b"));
        byte[] link = [.. entry, .. Text("../c")];
        Assert.Equal([.. U32((uint)link.Length), 11, 0, 1, 0, .. link], InitEncoder.EncodeTreeEntry(InitFrameType.TreeLink, 0x1ED, -2, 3, "a/b", "../c"));
    }
}
