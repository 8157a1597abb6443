using System.Globalization;

namespace Boxer.Common;

/// <summary>
/// The user of a command as requests and image configurations write it, parsed: a name or an id, alone or followed by <c>:</c> and a group. Digits
/// always mean an id.
/// </summary>
/// <param name="Text">The text.</param>
/// <param name="Owner">The user's name, or digits.</param>
/// <param name="Uid">The user's id, or <see langword="null"/> for a name.</param>
/// <param name="Group">The group's name, or digits; <see langword="null"/> where none is given.</param>
/// <param name="Gid">The group's id, or <see langword="null"/>.</param>
internal sealed record UserName(string Text, string Owner, uint? Uid, string? Group, uint? Gid)
{
    /// <summary>The highest id: the kernel takes -1 for "no change" (chown(2)), and ids are signed in many programs.</summary>
    internal const uint MaxId = int.MaxValue;

    /// <summary>Most bytes of the text in UTF-8.</summary>
    internal const int MaxBytes = 255;

    /// <summary>Parses a user. All faults are found, so that callers can report them in their own words.</summary>
    /// <param name="text">The text.</param>
    /// <param name="faults">Each fault, and the part of the text that it is about.</param>
    /// <returns><see langword="null"/> where there are faults.</returns>
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

    /// <summary>Reads an id of digits only.</summary>
    /// <param name="text">The digits.</param>
    /// <param name="id">The id.</param>
    internal static bool TryId(string text, out uint id) =>
        uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out id) && id <= MaxId;

    private static bool IsId(string part) => part.Length > 0 && part.All(char.IsAsciiDigit);

    private static uint? Id(string part) => IsId(part) && TryId(part, out uint id) ? id : null;
}

/// <summary>A fault of the text of a <see cref="UserName"/>.</summary>
internal enum UserFault
{
    /// <summary>It has an empty part, more than two parts or a control character.</summary>
    Malformed,

    /// <summary>It has a NUL character.</summary>
    Nul,

    /// <summary>It has half of a surrogate pair.</summary>
    NotUnicode,

    /// <summary>It has more than <see cref="UserName.MaxBytes"/> bytes.</summary>
    TooLong,

    /// <summary>An id is higher than <see cref="UserName.MaxId"/>.</summary>
    IdTooLarge,

    /// <summary>It begins with a minus sign.</summary>
    Negative,
}
