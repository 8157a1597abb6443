using System.Globalization;
using System.Text.RegularExpressions;
using Boxer.Common;
using Boxer.Runtime.Init;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>PROTOCOL.md has the frames, versions, stages, reasons and limits of both sides.</summary>
public sealed partial class ProtocolPageTests
{
    private static readonly string Page = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "docs", "PROTOCOL.md"));

    [Fact]
    public void The_tables_list_every_frame_type()
    {
        IEnumerable<(int, string)> listed = FrameRow().Matches(Page).Select(row => (Convert.ToInt32(row.Groups[1].Value, 16), row.Groups[2].Value.Replace("_", "", StringComparison.Ordinal)));

        Assert.Equal(
            Enum.GetValues<InitFrameType>().Select(type => ((int)type, type.ToString().ToUpperInvariant())).OrderBy(type => type.Item1),
            listed.OrderBy(type => type.Item1));
    }

    [Fact]
    public void The_versions_are_those_of_the_frames()
    {
        Assert.StartsWith($"# The protocol of boxer-init, version {InitProtocol.Version}\n", Page, StringComparison.Ordinal);
        Assert.Contains($"{VersionOf(InitFrameType.Start)} of START, WARM_UP and OPEN", Page, StringComparison.Ordinal);
        Assert.Contains($"{VersionOf(InitFrameType.Go)} of all others", Page, StringComparison.Ordinal);
        int reports = int.Parse(Regex.Match(Page, "(?<count>[0-9]+) of ENDED and OUTPUT_FILE", RegexOptions.None, TimeSpan.FromSeconds(1)).Groups[1].ValueSpan, CultureInfo.InvariantCulture);
        InitProtocol.ReadHeader([0, 0, 0, 0, .. LittleEndian((int)InitFrameType.Ended), .. LittleEndian(reports)]);

        static int VersionOf(InitFrameType type)
        {
            byte[] header = new byte[InitProtocol.HeaderSize];
            InitProtocol.WriteHeader(header, type, 0);
            return header[6] | (header[7] << 8);
        }

        static byte[] LittleEndian(int value) => [(byte)value, (byte)(value >> 8)];
    }

    [Fact]
    public void The_stages_and_reasons_are_those_of_the_code()
    {
        Assert.Equal(Enum.GetValues<InitStage>().Select(stage => (int)stage), Numbers("Stages of NOT_STARTED: "));
        Assert.Equal(Enum.GetValues<InitTruncation>().Select(reason => (int)reason), Numbers("Reasons of OUTPUT_TRUNCATED: "));

        static IEnumerable<int> Numbers(string start)
        {
            string sentence = Page[(Page.IndexOf(start, StringComparison.Ordinal) + start.Length)..].Split('\n')[0].Split(". ")[0];
            return ItemNumber().Matches(sentence).Select(number => int.Parse(number.Groups[1].ValueSpan, CultureInfo.InvariantCulture));
        }
    }

    [Fact]
    public void The_bounds_and_ids_are_those_of_the_code()
    {
        string[] sentences =
        [
            $"A payload has at most {InitProtocol.MaxPayload:N0} bytes, that of START, WARM_UP, OPEN and EXEC at most {InitProtocol.MaxStartPayload >> 20} MiB.",
            $"absolute, at most {CleanPath.MaxBytes:N0} bytes, names of 1 to {CleanPath.MaxNameBytes} bytes",
            $"so at most {CleanPath.MaxBytes - 1:N0} bytes; those of outputs have at most {CleanPath.MaxBytes:N0}.",
            $"An id is a u32 other than {InitProtocol.ReservedId} (the reserved one)",
            $"supplementary groups, at most {InitProtocol.MaxGroups:N0}. The groups of user 0 are below {InitProtocol.MappedIds:N0}",
            $"together at most {InitProtocol.MaxStrings:N0}",
            $"u32 bytes, 1 to {InitProtocol.MaxCredit:N0} |",
            $"The host sends at most {InitProtocol.InputWindow:N0} bytes of INPUT",
            $"deeper than {InitProtocol.MaxOutputDepth} directories",
            $"u64 memory in bytes, at least {InitProtocol.LeastMemory:N0}",
        ];

        Assert.All(sentences, sentence => Assert.Contains(sentence, Page, StringComparison.Ordinal));
        Assert.Equal(3, Regex.Count(Page, $"at most {InitProtocol.MaxItems}(;|\n)", RegexOptions.None, TimeSpan.FromSeconds(1)));
    }

    [Fact]
    public void The_capabilities_of_PID_1_are_those_that_the_specification_grants()
    {
        string list = Page[Page.IndexOf("and no others: ", StringComparison.Ordinal)..].Split(": ")[1].Split('.')[0];

        Assert.Equal(InitProtocol.RequiredCapabilities, list.Split(", ").Select(name => "CAP_" + name));
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(1, 1)]
    [InlineData(2, 2)]
    public void The_kinds_of_directories_are_those_of_the_code(int kind, int value)
    {
        Assert.Equal(value, (int)Enum.GetValues<InitTmpfsKind>()[kind]);
        Assert.Contains($"u32 kind}}, at most {InitProtocol.MaxItems}; kind 0: mounted; 1: mounted unless the image has entries in the directory, which then stay; 2: the workspace", Page, StringComparison.Ordinal);
    }

    [GeneratedRegex(@"^\| 0x(?<type>[0-9A-F]{4}) \| (?<name>[A-Z_]+) \|", RegexOptions.Multiline, 1000)]
    private static partial Regex FrameRow();

    [GeneratedRegex(@"(?:^|, )(?<item>[0-9]+) ", RegexOptions.None, 1000)]
    private static partial Regex ItemNumber();
}
