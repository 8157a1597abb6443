using System.Runtime.InteropServices;

namespace Boxer.Common;

/// <summary>
/// A path that was parsed: names with single slashes between them, none of them empty, <c>.</c> or <c>..</c>, without NUL, in Unicode that UTF-8 can
/// express, within the bounds of Linux. It is text only: nothing is resolved.
/// </summary>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct CleanPath
{
    /// <summary>Most bytes of a path in one system call: PATH_MAX of Linux (limits.h, 4,096) counts the NUL at its end. PROTOCOL.md has the same.</summary>
    internal const int MaxBytes = 4_095;

    /// <summary>Most bytes of a path that is put below a directory of one byte, the root: a slash comes before it.</summary>
    internal const int MaxRelativeBytes = MaxBytes - 1;

    /// <summary>Most bytes of a name: NAME_MAX of Linux (limits.h).</summary>
    internal const int MaxNameBytes = 255;

    private readonly string? _text;

    private CleanPath(string text, int names)
    {
        _text = text;
        Names = names;
    }

    /// <summary>The root directory.</summary>
    internal static CleanPath Root => default;

    /// <summary>The path as it was parsed.</summary>
    internal string Text => _text ?? "/";

    /// <summary>Number of names in it; 0 for the root.</summary>
    internal int Names { get; }

    /// <summary>Its first name; empty for the root.</summary>
    internal ReadOnlySpan<char> FirstName
    {
        get
        {
            ReadOnlySpan<char> names = Text.AsSpan().TrimStart('/');
            int slash = names.IndexOf('/');
            return slash < 0 ? names : names[..slash];
        }
    }

    /// <summary>Parses a path. All faults are found, so that callers can report them in their own order and words.</summary>
    /// <param name="text">The path.</param>
    /// <param name="kind">Where it begins.</param>
    /// <param name="path">The path, if there is no fault.</param>
    internal static PathFaults TryParse(string? text, PathKind kind, out CleanPath path)
    {
        path = default;
        if (string.IsNullOrEmpty(text))
        {
            return PathFaults.Empty;
        }

        bool isAbsolute = text[0] == '/';
        PathFaults faults = Scan(text.AsSpan(isAbsolute ? 1 : 0), out long bytes, out int names);
        if (isAbsolute != (kind == PathKind.Absolute))
        {
            faults |= PathFaults.WrongKind;
        }

        if (bytes + (isAbsolute ? 1 : 0) > (kind == PathKind.BelowRoot ? MaxRelativeBytes : MaxBytes))
        {
            faults |= PathFaults.TooLong;
        }

        if (faults == PathFaults.None)
        {
            path = new CleanPath(text, names);
        }

        return faults;
    }

    /// <summary>
    /// Parses an absolute path as programs take it: <c>.</c>, doubled slashes and one at the end are taken out. <c>..</c> is a fault, because only
    /// the links on the way say where it leads.
    /// </summary>
    /// <param name="text">The path.</param>
    /// <param name="path">The path, if there is no fault; it may be the root.</param>
    internal static PathFaults TryNormalize(string text, out CleanPath path)
    {
        PathFaults faults = TryParse(text, PathKind.Absolute, out path) & ~(PathFaults.EmptyName | PathFaults.Dot);
        if (faults == PathFaults.None && path == default)
        {
            string names = string.Join('/', text.Split('/').Where(name => name is not ("" or ".")));
            _ = TryParse("/" + names, PathKind.Absolute, out path);
        }

        return faults;
    }

    /// <summary>Whether a text is Unicode that UTF-8 can express: it has no half of a surrogate pair.</summary>
    internal static bool IsUnicode(ReadOnlySpan<char> text)
    {
        int at = text.IndexOfAnyInRange('\uD800', '\uDFFF');
        for (; at >= 0 && at < text.Length; at++)
        {
            if (char.IsSurrogate(text[at]) && (at + 1 >= text.Length || !char.IsSurrogatePair(text[at], text[++at])))
            {
                return false;
            }
        }

        return true;
    }

    /// <inheritdoc/>
    public override string ToString() => Text;

    // One pass: names are told apart and bytes of UTF-8 are counted.
    private static PathFaults Scan(ReadOnlySpan<char> text, out long bytes, out int names)
    {
        PathFaults faults = PathFaults.None;
        bytes = 0;
        names = 0;
        int start = 0;
        long nameBytes = 0;
        for (int i = 0; i <= text.Length; i++)
        {
            if (i == text.Length || text[i] == '/')
            {
                faults |= text[start..i] switch
                {
                    "" => PathFaults.EmptyName,
                    "." => PathFaults.Dot,
                    ".." => PathFaults.DotDot,
                    _ => nameBytes > MaxNameBytes ? PathFaults.LongName : PathFaults.None,
                };
                names++;
                bytes += nameBytes + (i < text.Length ? 1 : 0);
                nameBytes = 0;
                start = i + 1;
                continue;
            }

            char character = text[i];
            if (character == '\0')
            {
                faults |= PathFaults.Nul;
            }

            nameBytes += character <= '\u007F' ? 1 : character <= '\u07FF' ? 2 : 3;
            if (char.IsSurrogate(character))
            {
                if (i + 1 < text.Length && char.IsSurrogatePair(character, text[i + 1]))
                {
                    // Four bytes for both.
                    nameBytes++;
                    i++;
                }
                else
                {
                    faults |= PathFaults.NotUnicode;
                }
            }
        }

        return faults;
    }
}

/// <summary>The start of a <see cref="CleanPath"/>.</summary>
internal enum PathKind
{
    /// <summary>At the root: it begins with a slash.</summary>
    Absolute,

    /// <summary>Below the root, or below a longer directory that is opened first: a slash is put before it.</summary>
    BelowRoot,

    /// <summary>In an open directory: it has all bytes of a system call for itself.</summary>
    InDirectory,
}

/// <summary>Faults of a path. Several can be there at once.</summary>
[Flags]
internal enum PathFaults
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>It is empty.</summary>
    Empty = 1 << 0,

    /// <summary>It is relative where it must be absolute, or the reverse.</summary>
    WrongKind = 1 << 1,

    /// <summary>It has a NUL character.</summary>
    Nul = 1 << 2,

    /// <summary>It has half of a surrogate pair.</summary>
    NotUnicode = 1 << 3,

    /// <summary>It has too many bytes of UTF-8.</summary>
    TooLong = 1 << 4,

    /// <summary>A name has more than <see cref="CleanPath.MaxNameBytes"/> bytes of UTF-8.</summary>
    LongName = 1 << 5,

    /// <summary>Slashes are doubled or at the end.</summary>
    EmptyName = 1 << 6,

    /// <summary>A name is <c>.</c>.</summary>
    Dot = 1 << 7,

    /// <summary>A name is <c>..</c>.</summary>
    DotDot = 1 << 8,

    /// <summary>A name is empty, <c>.</c> or <c>..</c>.</summary>
    Unclean = EmptyName | Dot | DotDot,
}
