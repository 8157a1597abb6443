using System.Globalization;
using System.Text;
using Boxer.Common;
using CsCheck;

namespace Boxer.Tests.Core.Common;

/// <summary>Untrusted text is decoded exactly and shown without control characters.</summary>
public sealed class UntrustedTextTests
{
    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    [Fact]
    public void TryDecode_rejects_invalid_bytes_and_Decode_replaces_them() =>
        Gen.OneOf(Gen.Byte.Array[0, 12], Gen.String.Select(Encoding.UTF8.GetBytes)).Sample(
            bytes =>
            {
                bool isValid = UntrustedText.TryDecode(bytes, out string? text);
                Assert.Equal(isValid ? bytes : null, text is null ? null : Strict.GetBytes(text));
                Assert.Equal(isValid, Encoding.UTF8.GetString(bytes) is var lossy && Encoding.UTF8.GetBytes(lossy).AsSpan().SequenceEqual(bytes));
                Assert.Equal(lossy, UntrustedText.Decode(bytes));
            },
            iter: 50_000);

    [Fact]
    public void Show_is_printable_and_short() =>
        Gen.String.Sample(
            text =>
            {
                string shown = UntrustedText.Show(text);
                Assert.Equal(Math.Min(text.Length, 200), shown.Length);
                Assert.DoesNotContain(shown, IsEffect);
                Assert.Equal(shown, UntrustedText.Show(shown));
                string lines = UntrustedText.ShowLines(text);
                Assert.Equal(text.Length, lines.Length);
                Assert.DoesNotContain(lines, character => character is not ('\n' or '\t') && IsEffect(character));
            },
            iter: 20_000);

    [Theory]
    [InlineData("a\u001b[31mb", "a\uFFFD[31mb")]
    [InlineData("a\u202Eb\u200Fc", "a\uFFFDb\uFFFDc")]
    [InlineData("a\u2028b", "a\uFFFDb")]
    [InlineData("a\nb\tc", "a\uFFFDb\uFFFDc")]
    [InlineData("ä €", "ä €")]
    public void Show_replaces_marks_that_change_a_line(string text, string shown)
    {
        Assert.Equal(shown, UntrustedText.Show(text));
        Assert.Equal(shown, UntrustedText.Show(Encoding.UTF8.GetBytes(text)));
    }

    [Fact]
    public void ShowLines_keeps_lines() =>
        Assert.Equal("a\nb\tc\uFFFDd", UntrustedText.ShowLines("a\nb\tc\u001bd"));

    private static bool IsEffect(char character) => char.GetUnicodeCategory(character)
        is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator;
}
