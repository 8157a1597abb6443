using System.Globalization;
using System.Text.RegularExpressions;

namespace Boxer.Validation;

/// <summary>
/// Reads values of options from the text of .NET configuration. Invalid text throws a <see cref="FormatException"/> whose message is a sentence
/// without its subject: it contains the text and a valid example.
/// </summary>
internal static partial class OptionText
{
    internal static bool ReadBoolean(string text) =>
        bool.TryParse(text, out bool value) ? value : throw new FormatException($"'{text}' must be true or false.");

    internal static int ReadInt32(string text) =>
        int.TryParse(text, NumberStyles.AllowLeadingSign | NumberStyles.AllowLeadingWhite | NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture, out int value)
            ? value
            : throw new FormatException($"'{text}' must be a whole number of at most {int.MaxValue}.");

    internal static long ReadInt64(string text) =>
        long.TryParse(text, NumberStyles.AllowLeadingSign | NumberStyles.AllowLeadingWhite | NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture, out long value)
            ? value
            : throw new FormatException($"'{text}' must be a whole number of at most {long.MaxValue}, without a unit.");

    /// <summary>Reads a number of bytes. A number with a unit, such as <c>512M</c>, is rejected with a message that has the number of bytes to write.</summary>
    internal static long ReadSize(string text)
    {
        if (long.TryParse(text, NumberStyles.AllowLeadingSign | NumberStyles.AllowLeadingWhite | NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture, out long value))
        {
            return value;
        }

        long bytes = 512 * ByteSize.MiB;
        Match number = WithUnit().Match(text);
        if (number.Success && long.TryParse(number.Groups["count"].Value, NumberStyles.None, CultureInfo.InvariantCulture, out long count))
        {
            long unit = char.ToUpperInvariant(number.Groups["unit"].Value[0]) switch
            {
                'K' => ByteSize.KiB,
                'M' => ByteSize.MiB,
                'G' => ByteSize.GiB,
                _ => ByteSize.TiB,
            };
            bytes = count is > 0 && count <= long.MaxValue / unit ? count * unit : bytes;
        }

        throw new FormatException($"'{text}' must be a number of bytes, such as {bytes} for {ByteSize.Format(bytes)}.");
    }

    internal static double ReadDouble(string text) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double value)
            ? value
            : throw new FormatException($"'{text}' must be a number, such as 1.5.");

    /// <summary>Reads a time as <c>hours:minutes:seconds</c>. A bare number, which .NET reads as days, is rejected.</summary>
    internal static TimeSpan ReadTime(string text)
    {
        if (double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number))
        {
            string seconds = Math.Abs(number) < TimeSpan.MaxValue.TotalSeconds / 2 ? $"{TimeSpan.FromSeconds(number):c} for {text.Trim()} s" : "00:00:30 for 30 s";
            throw new FormatException($"'{text}' has no unit; write hours:minutes:seconds, such as {seconds}.");
        }

        return TimeSpan.TryParse(text, CultureInfo.InvariantCulture, out TimeSpan value)
            ? value
            : throw new FormatException($"'{text}' must be a time as hours:minutes:seconds, such as 00:00:30 for 30 s.");
    }

    [GeneratedRegex(@"^\s*(?<count>\d{1,19})\s*(?<unit>[KMGT])i?B?\s*$", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex WithUnit();
}
