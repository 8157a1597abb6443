using System.Buffers.Binary;
using System.Net;
using Boxer.Network.Dns;
using CsCheck;

namespace Boxer.Tests.Network.Dns;

/// <summary>Tests of <see cref="DnsQuery"/>, <see cref="DnsResponse"/> and <see cref="UpstreamAnswer"/> with well-formed and hostile DNS messages.</summary>
public sealed class DnsMessageTests
{
    private const string Name = "web.example.test";
    private static readonly byte[] Owner = [0xC0, 12];
    private static readonly byte[] Address = [198, 51, 100, 10];
    private static readonly byte[] Other = [9, (byte)'t', (byte)'a', (byte)'r', (byte)'g', (byte)'e', (byte)'t', (byte)'-', (byte)'-', (byte)'x', 0];

    /// <summary>A description, the records of an answer, how many it announces, and the expected addresses; null: the answer is rejected.</summary>
    public static TheoryData<string, byte[], int, string[]?> Answers => new()
    {
        { "right", Record(Owner, 1, Address), 1, ["198.51.100.10"] },
        { "an alias", [.. Record(Owner, 5, Other), .. Record(Other, 1, Address)], 2, ["198.51.100.10"] },
        { "an alias after its address", [.. Record(Other, 1, Address), .. Record(Owner, 5, Other)], 2, ["198.51.100.10"] },
        { "other types between", [.. Record(Owner, 46, [1, 2, 3]), .. Record(Owner, 1, Address)], 2, ["198.51.100.10"] },
        { "an address of another name", Record(Other, 1, Address), 1, [] },
        { "an address of the other type", Record(Owner, 28, new byte[16]), 1, [] },
        { "an alias of itself", Record(Owner, 5, Owner), 1, [] },
        { "aliases in a circle", [.. Record(Owner, 5, Other), .. Record(Other, 5, Owner)], 2, [] },
        { "a pointer to itself", Record([0xC0, 34], 1, Address), 1, null },
        { "a pointer forward", Record([0xC0, 40], 1, Address), 1, null },
        { "a pointer to a pointer forward", Record([1, (byte)'a', 0xC0, 34], 1, Address), 1, null },
        { "a pointer out of the message", Record([0xFF, 0xFF], 1, Address), 1, null },
        { "half a pointer", [0xC0], 1, null },
        { "a label of a reserved kind", Record([0x40, 0], 1, Address), 1, null },
        { "a label beyond the end", [63, (byte)'a'], 1, null },
        { "a name without an end", [1, (byte)'a'], 1, null },
        { "another name, of 255 bytes", Record(LongName(255), 1, Address), 1, [] },
        { "a name of 256 bytes", Record(LongName(256), 1, Address), 1, null },
        { "an address of 3 bytes", Record(Owner, 1, [1, 2, 3]), 1, null },
        { "an address of 5 bytes", Record(Owner, 1, [1, 2, 3, 4, 5]), 1, null },
        { "data beyond the end", Record(Owner, 1, Address)[..^1], 1, null },
        { "fewer records than it says", Record(Owner, 1, Address), 2, null },
        { "an alias with bytes after it", [.. Record(Owner, 5, [.. Other, 0]), .. Record(Other, 1, Address)], 2, null },
        { "an address of another class", [.. Owner, 0, 1, 0, 3, 0, 0, 0, 60, 0, 4, .. Address], 1, [] },
    };

    [Theory]
    [MemberData(nameof(Answers))]
    public void UpstreamAnswer_Parse_reads_addresses_of_the_name_only_and_rejects_malformed_answers(string description, byte[] records, int count, string[]? addresses)
    {
        Assert.NotEmpty(description);
        Assert.Equal(addresses, UpstreamAnswer.Parse(Answer(records, count), 7, Name, DnsType.A)?.Addresses.Select(address => address.ToString()));
    }

    [Fact]
    public void UpstreamAnswer_Parse_follows_at_most_16_aliases()
    {
        Assert.Single(Chain(16).Addresses);
        Assert.Empty(Chain(17).Addresses);

        static UpstreamAnswer Chain(int aliases)
        {
            byte[] Link(int number) => number == 0 ? Owner : [1, (byte)('a' + number), 0];
            byte[] records = [.. Enumerable.Range(0, aliases).SelectMany(number => Record(Link(number), 5, Link(number + 1))), .. Record(Link(aliases), 1, Address)];
            return UpstreamAnswer.Parse(Answer(records, aliases + 1), 7, Name, DnsType.A)!;
        }
    }

    [Fact]
    public void UpstreamAnswer_Parse_rejects_answers_to_other_queries()
    {
        byte[] right = Answer(Record(Owner, 1, Address), 1);
        Assert.NotNull(UpstreamAnswer.Parse(right, 7, Name, DnsType.A));
        Assert.Null(UpstreamAnswer.Parse(right, 8, Name, DnsType.A));
        Assert.Null(UpstreamAnswer.Parse(right, 7, "other.example.test", DnsType.A));
        Assert.Null(UpstreamAnswer.Parse(right, 7, Name, DnsType.Aaaa));
        Assert.Null(UpstreamAnswer.Parse(DnsMessage.WriteQuery(7, Name, DnsType.A), 7, Name, DnsType.A));
        right[5] = 2;
        Assert.Null(UpstreamAnswer.Parse(right, 7, Name, DnsType.A));
    }

    [Fact]
    public void UpstreamAnswer_Parse_uses_the_shortest_time_to_live_and_0_for_a_negative_one()
    {
        byte[] records = [.. Record(Owner, 5, Other, 90), .. Record(Other, 1, Address, 300)];
        Assert.Equal(90u, UpstreamAnswer.Parse(Answer(records, 2), 7, Name, DnsType.A)!.Seconds);
        Assert.Equal(0u, UpstreamAnswer.Parse(Answer(Record(Owner, 1, Address, uint.MaxValue), 1), 7, Name, DnsType.A)!.Seconds);
    }

    [Fact]
    public void DnsQuery_Parse_reports_the_fault_and_ignores_other_messages()
    {
        byte[] right = DnsMessage.WriteQuery(7, Name, DnsType.A);
        Assert.Equal(DnsCode.NoError, Fault());
        Assert.Equal(DnsCode.NotImplemented, Fault((2, 0x29)));
        Assert.Equal(DnsCode.FormatError, Fault((5, 0)));
        Assert.Equal(DnsCode.FormatError, Fault((5, 2)));
        Assert.Equal(DnsCode.FormatError, Fault((7, 1)));
        Assert.Equal(DnsCode.FormatError, Fault((9, 1)));
        Assert.Equal(DnsCode.FormatError, Fault((12, 0xC0), (13, 12)));
        Assert.Equal(DnsCode.FormatError, Fault((12, 60)));
        Assert.Equal(DnsCode.NoError, DnsQuery.Parse((byte[])[.. right[..12], .. LongName(255), 0, 1, 0, 1])?.Fault);
        Assert.Equal(DnsCode.FormatError, DnsQuery.Parse((byte[])[.. right[..12], .. LongName(256), 0, 1, 0, 1])?.Fault);
        Assert.Equal(DnsCode.FormatError, DnsQuery.Parse(right.AsMemory(0, right.Length - 1))?.Fault);
        Assert.Null(Fault((2, 0x81)));
        Assert.Null(DnsQuery.Parse(right.AsMemory(0, 11)));

        DnsCode? Fault(params (int At, byte Value)[] changes)
        {
            byte[] query = [.. right];
            foreach ((int at, byte value) in changes)
            {
                query[at] = value;
            }

            return DnsQuery.Parse(query)?.Fault;
        }
    }

    [Fact]
    public void DnsResponse_Write_keeps_the_letter_case_of_the_query_and_DnsQuery_Name_is_lower_case() =>
        Gen.Select(Gen.OneOf(Gen.Char['a', 'z'], Gen.Char['A', 'Z'], Gen.Char['0', '9'], Gen.Const('-'), Gen.Const('_')).Array[1, 20].Array[1, 6], Gen.UShort).Sample((labels, id) =>
        {
            string name = string.Join('.', labels.Select(label => new string(label)));
            byte[] asked = DnsMessage.WriteQuery(id, name, DnsType.A);
            DnsQuery query = DnsQuery.Parse(asked)!;
            Assert.Equal((id, name.ToLowerInvariant(), DnsType.A), (query.Id, query.Name, query.Type));

            byte[] reply = new DnsResponse(DnsCode.NoError, [IPAddress.Parse("198.51.100.10")], 60).Write(query, DnsMessage.MaxDatagramBytes);
            Assert.Equal(asked[12..], reply[12..asked.Length]);
            Assert.Equal(["198.51.100.10"], UpstreamAnswer.Parse(reply, id, query.Name, DnsType.A)!.Addresses.Select(address => address.ToString()));
        });

    [Fact]
    public void DnsQuery_Name_escapes_a_dot_inside_a_label()
    {
        byte[] query = DnsMessage.WriteQuery(7, Name, DnsType.A);
        query[12] = 11;
        query[16] = (byte)'.';
        Assert.Equal(@"web\046example.test", DnsQuery.Parse(query)!.Name);
    }

    [Fact]
    public void DnsResponse_Write_truncates_addresses_that_do_not_fit()
    {
        DnsQuery query = DnsQuery.Parse(DnsMessage.WriteQuery(7, Name, DnsType.Aaaa))!;
        var reply = new DnsResponse(DnsCode.NoError, [.. Enumerable.Range(1, 64).Select(number => IPAddress.Parse($"2001:db8::{number:x}"))], 60);

        byte[] cut = reply.Write(query, DnsMessage.MaxDatagramBytes);
        Assert.InRange(cut.Length, DnsMessage.MaxDatagramBytes - 28, DnsMessage.MaxDatagramBytes);
        Assert.True(UpstreamAnswer.Parse(cut, 7, Name, DnsType.Aaaa)!.IsTruncated);
        UpstreamAnswer whole = UpstreamAnswer.Parse(reply.Write(query, ushort.MaxValue), 7, Name, DnsType.Aaaa)!;
        Assert.Equal(reply.Addresses, whole.Addresses);
    }

    [Fact]
    public void Any_bytes_can_be_parsed_and_a_response_to_them_fits_into_a_datagram()
    {
        byte[] answer = Answer([.. Record(Owner, 5, Other), .. Record(Other, 1, Address)], 2);
        byte[] query = DnsMessage.WriteQuery(7, Name, DnsType.A);
        Gen<byte[]> mutated = Gen.Select(Gen.Bool, Gen.Select(Gen.Int[0, 200], Gen.Byte).Array[0, 8], Gen.Int[0, 200]).Select((isAnswer, changes, length) =>
        {
            byte[] bytes = [.. isAnswer ? answer : query];
            foreach ((int at, byte value) in changes)
            {
                bytes[at % bytes.Length] = value;
            }

            return bytes[..Math.Min(length, bytes.Length)];
        });
        Gen.OneOf(Gen.Byte.Array[0, 600], mutated, mutated).Sample(
            bytes =>
            {
                UpstreamAnswer.Parse(bytes, 7, Name, DnsType.A);
                UpstreamAnswer.Parse(bytes, bytes.Length < 2 ? (ushort)0 : BinaryPrimitives.ReadUInt16BigEndian(bytes), Name, DnsType.Aaaa);
                if (DnsQuery.Parse(bytes) is { } read)
                {
                    Assert.True(read.Name.All(character => character is > ' ' and <= '~' && !char.IsAsciiLetterUpper(character)), read.Name);
                    Assert.InRange(new DnsResponse(DnsCode.NoError, [IPAddress.IPv6Loopback], 1).Write(read, DnsMessage.MaxDatagramBytes).Length, 12, DnsMessage.MaxDatagramBytes);
                }
            },
            iter: 200_000);
    }

    private static byte[] Answer(byte[] records, int count)
    {
        byte[] message = [.. DnsMessage.WriteQuery(7, Name, DnsType.A), .. records];
        message[2] |= 0x80;
        message[7] = (byte)count;
        return message;
    }

    // A name of exactly this length: three labels of 63 characters and one with the rest.
    private static byte[] LongName(int bytes) =>
        [.. Enumerable.Repeat<byte[]>([63, .. new byte[63]], 3).SelectMany(label => label), (byte)(bytes - 194), .. new byte[bytes - 194], 0];

    private static byte[] Record(byte[] owner, byte type, byte[] data, uint seconds = 60)
    {
        var time = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(time, seconds);
        return [.. owner, 0, type, 0, 1, .. time, 0, (byte)data.Length, .. data];
    }
}
