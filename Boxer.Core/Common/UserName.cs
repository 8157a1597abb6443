using System.Globalization;

namespace Boxer.Common;

/// <summary>
/// Parsed user of a command, in the notation of requests and image configurations: a name or an id, alone or followed by <c>:</c> and a group.
/// Digits always mean an id.
/// </summary>
/// <param name="Text">Whole text.</param>
/// <param name="Owner">Name of the user, or digits.</param>
/// <param name="Uid">Id of the user; <see langword="null"/> for a name.</param>
/// <param name="Group">Name of the group, or digits; <see langword="null"/> if the text has no group.</param>
/// <param name="Gid">Id of the group; <see langword="null"/> for a name or without a group.</param>
internal sealed record UserName(string Text, string Owner, uint? Uid, string? Group, uint? Gid)
{
    /// <summary>Highest id. The kernel interprets -1 as "no change" (chown(2)), and many programs use signed ids.</summary>
    internal const uint MaxId = int.MaxValue;

    /// <summary>Maximum number of bytes of the text in UTF-8.</summary>
    internal const int MaxBytes = 255;

    /// <summary>Parses a user. Finds all faults, so that callers can report them in their own words.</summary>
    /// <param name="text">Text to parse.</param>
    /// <param name="faults">Each fault with the part of the text that has it.</param>
    /// <returns><see langword="null"/> if the text has faults.</returns>
    internal static UserName? TryParse(string text, out IReadOnlyList<(UserFault Fault, string Part)> faults)
    {
        List<(UserFault, string)> found = [];
        string[] parts = text.Split(':');
        if (parts.Length > 2 || parts.Any(part => part.Length == 0) || text.Any(character => char.IsControl(character) && character != '\0'))
        {
            found.Add((UserFault.Malformed, text));
        }

        if (text.Contains('\0', StringComparison.Ordinal))
        {
            found.Add((UserFault.Nul, text));
        }

        if (!CleanPath.IsUnicode(text))
        {
            found.Add((UserFault.NotUnicode, text));
        }

        if (System.Text.Encoding.UTF8.GetByteCount(text) > MaxBytes)
        {
            found.Add((UserFault.TooLong, text));
        }

        found.AddRange(parts.Where(part => IsId(part) && !TryId(part, out _)).Select(part => (UserFault.IdTooLarge, part)));
        if (text.StartsWith('-'))
        {
            found.Add((UserFault.Negative, text));
        }

        faults = found;
        return found.Count > 0 ? null : new UserName(text, parts[0], Id(parts[0]), parts.ElementAtOrDefault(1), parts.Length > 1 ? Id(parts[1]) : null);
    }

    /// <summary>Parses an id.</summary>
    /// <param name="text">Digits.</param>
    /// <param name="id">The id, at most <see cref="MaxId"/>.</param>
    internal static bool TryId(string text, out uint id) =>
        uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out id) && id <= MaxId;

    private static bool IsId(string part) => part.Length > 0 && part.All(char.IsAsciiDigit);

    private static uint? Id(string part) => IsId(part) && TryId(part, out uint id) ? id : null;
}

/// <summary>Fault of the text of a <see cref="UserName"/>.</summary>
internal enum UserFault
{
    /// <summary>The text has an empty part, more than two parts or a control character.</summary>
    Malformed,

    /// <summary>The text has a NUL character.</summary>
    Nul,

    /// <summary>The text has half of a surrogate pair.</summary>
    NotUnicode,

    /// <summary>The text has more than <see cref="UserName.MaxBytes"/> bytes.</summary>
    TooLong,

    /// <summary>An id is higher than <see cref="UserName.MaxId"/>.</summary>
    IdTooLarge,

    /// <summary>The text begins with a minus sign.</summary>
    Negative,
}
