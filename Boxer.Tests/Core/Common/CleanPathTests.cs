using System.Text;
using Boxer.Common;
using CsCheck;
using static Boxer.Tests.Support.Generators;

namespace Boxer.Tests.Core.Common;

/// <summary>The parser of paths, compared with the rules of Linux and with .NET's encoder.</summary>
public sealed class CleanPathTests
{
    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private static readonly string[] Words =
    [
        "a", "b.txt", ".", "..", "...", "", "/", "//", "\0", "\\", " ", "ä", "\u20AC", "\U0001F600", "\uD800", "\uDC00", "\u202E",
        new string('x', 255), new string('x', 256), new string('ä', 127), new string('ä', 128), new string('y', 2_000),
    ];

    private static readonly Gen<string> Paths = Gen.OneOf(
        Pick(Words).Array[0, 8].Select(names => string.Join('/', names)),
        Pick(Words).Array[0, 8].Select(names => "/" + string.Join('/', names)),
        Pick(Words).Array[0, 8].Select(string.Concat),
        Gen.Int[4_080, 4_100].Select(Long),
        Gen.Int[4_080, 4_100].Select(length => "/" + Long(length - 1)),
        Gen.String);

    private static readonly Gen<PathKind> Kinds = Pick(PathKind.Absolute, PathKind.BelowRoot, PathKind.InDirectory);

    [Fact]
    public void TryParse_finds_the_faults_of_the_rules() =>
        Gen.Select(Paths, Kinds).Sample(
            (text, kind) =>
            {
                PathFaults faults = CleanPath.TryParse(text, kind, out CleanPath path);
                Assert.Equal(Expected(text, kind), faults);
                Assert.Equal(faults == PathFaults.None ? text : "/", path.Text);
            },
            iter: 100_000);

    [Fact]
    public void TryParse_accepts_only_paths_that_stay_below_their_root() =>
        Gen.Select(Paths, Kinds).Sample(
            (text, kind) =>
            {
                if (CleanPath.TryParse(text, kind, out CleanPath path) == PathFaults.None)
                {
                    string full = kind == PathKind.Absolute ? text : "/" + text;
                    Assert.Equal("/srv" + full, Path.GetFullPath("/srv" + full));
                    Assert.Equal(text, Strict.GetString(Strict.GetBytes(text)));
                    Assert.Equal(full.Count(character => character == '/'), path.Names);
                    Assert.Equal(full.Split('/')[1], path.FirstName.ToString());

                    // The path with its NUL fits in one system call.
                    Assert.InRange(Strict.GetByteCount(kind == PathKind.InDirectory ? text : full) + 1, 2, 4_096);
                }
            },
            iter: 100_000);

    [Fact]
    public void TryNormalize_agrees_with_the_system() =>
        Paths.Sample(
            text =>
            {
                PathFaults faults = CleanPath.TryNormalize(text, out CleanPath path);
                Assert.Equal(Expected(text, PathKind.Absolute) & ~(PathFaults.EmptyName | PathFaults.Dot), faults);
                if (faults == PathFaults.None)
                {
                    Assert.Equal(Path.TrimEndingDirectorySeparator(Path.GetFullPath(text)), path.Text);
                }
            },
            iter: 50_000);

    [Theory]
    [InlineData("/", "/")]
    [InlineData("//", "/")]
    [InlineData("/./.", "/")]
    [InlineData("/a//b/./c/", "/a/b/c")]
    [InlineData("/a", "/a")]
    public void TryNormalize_removes_dots_and_slashes(string text, string expected)
    {
        Assert.Equal(PathFaults.None, CleanPath.TryNormalize(text, out CleanPath path));
        Assert.Equal(expected, path.Text);
    }

    [Theory]
    [InlineData(nameof(PathKind.Absolute), 4_095)]
    [InlineData(nameof(PathKind.BelowRoot), 4_094)]
    [InlineData(nameof(PathKind.InDirectory), 4_095)]
    public void TryParse_accepts_the_longest_path_of_a_system_call(string where, int most)
    {
        PathKind kind = Enum.Parse<PathKind>(where);
        string longest = kind == PathKind.Absolute ? "/" + Long(most - 1) : Long(most);
        Assert.Equal(PathFaults.None, CleanPath.TryParse(longest, kind, out _));
        Assert.Equal(PathFaults.TooLong, CleanPath.TryParse(longest + "x", kind, out _));
    }

    [Fact]
    public void IsUnicode_rejects_halves_of_surrogate_pairs() =>
        Gen.OneOf(Pick(Words).Array[0, 8].Select(string.Concat), Gen.String).Sample(
            text => Assert.Equal(IsStrict(text), CleanPath.IsUnicode(text)),
            iter: 50_000);

    // Makes names of at most 200 bytes, with two bytes for each character if possible.
    private static string Long(int bytes)
    {
        var path = new StringBuilder();
        while (bytes > 0)
        {
            int name = Math.Min(bytes, 200);
            name = bytes - name == 1 ? name - 1 : name;
            path.Append('ä', name / 2).Append('n', name % 2);
            bytes -= name;
            if (bytes > 0)
            {
                path.Append('/');
                bytes--;
            }
        }

        return path.ToString();
    }

    private static bool IsStrict(string text)
    {
        try
        {
            _ = Strict.GetByteCount(text);
            return true;
        }
        catch (EncoderFallbackException)
        {
            return false;
        }
    }

    private static PathFaults Expected(string text, PathKind kind)
    {
        if (text.Length == 0)
        {
            return PathFaults.Empty;
        }

        string[] names = (text[0] == '/' ? text[1..] : text).Split('/');
        int most = kind == PathKind.BelowRoot ? 4_094 : 4_095;
        return If(text[0] == '/' != (kind == PathKind.Absolute), PathFaults.WrongKind)
            | If(text.Contains('\0', StringComparison.Ordinal), PathFaults.Nul)
            | If(!IsStrict(text), PathFaults.NotUnicode)
            | If(Encoding.UTF8.GetByteCount(text) > most, PathFaults.TooLong)
            | If(names.Any(name => Encoding.UTF8.GetByteCount(name) > 255), PathFaults.LongName)
            | If(names.Contains(""), PathFaults.EmptyName)
            | If(names.Contains("."), PathFaults.Dot)
            | If(names.Contains(".."), PathFaults.DotDot);

        static PathFaults If(bool isFault, PathFaults fault) => isFault ? fault : PathFaults.None;
    }
}
