using System.Runtime.InteropServices;

namespace Boxer.Common;

/// <summary>
/// Parsed path: names with single slashes between them, none of them empty, <c>.</c> or <c>..</c>, without NUL, valid Unicode, within the limits
/// of Linux. Only the text is checked; the file system is not used.
/// </summary>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct CleanPath
{
    /// <summary>Maximum number of bytes of a path. PATH_MAX of Linux (limits.h, 4,096) also counts the NUL at the end. PROTOCOL.md has the same limit.</summary>
    internal const int MaxBytes = 4_095;

    /// <summary>Maximum number of bytes of a path below the root: a slash is put before it.</summary>
    internal const int MaxRelativeBytes = MaxBytes - 1;

    /// <summary>Maximum number of bytes of a name: NAME_MAX of Linux (limits.h).</summary>
    internal const int MaxNameBytes = 255;

    private readonly string? _text;

    private CleanPath(string text, int names)
    {
        _text = text;
        Names = names;
    }

    /// <summary>Gets the root directory.</summary>
    internal static CleanPath Root => default;

    /// <summary>Text of the path.</summary>
    internal string Text => _text ?? "/";

    /// <summary>Number of names; 0 for the root.</summary>
    internal int Names { get; }

    /// <summary>First name; empty for the root.</summary>
    internal ReadOnlySpan<char> FirstName
    {
        get
        {
            ReadOnlySpan<char> names = Text.AsSpan().TrimStart('/');
            int slash = names.IndexOf('/');
            return slash < 0 ? names : names[..slash];
        }
    }

    /// <summary>Parses a path.</summary>
    /// <param name="text">Text of the path.</param>
    /// <param name="kind">Start of the path.</param>
    /// <param name="path">The parsed path, if it has no fault.</param>
    /// <returns>All faults, so that callers can report them in their own order and words.</returns>
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
    /// Parses an absolute path and removes <c>.</c>, doubled slashes and a slash at the end. <c>..</c> is a fault, because its target depends on
    /// symbolic links.
    /// </summary>
    /// <param name="text">Text of the path.</param>
    /// <param name="path">The parsed path, if it has no fault; it can be the root.</param>
    /// <returns>All faults.</returns>
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

    /// <summary>Whether a text is valid Unicode: it has no half of a surrogate pair.</summary>
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

    // Checks names and counts bytes of UTF-8 in one pass.
    private static PathFaults Scan(ReadOnlySpan<char> text, out long bytes, out int names)
    {
        PathFaults faults = PathFaults.None;
        bytes = 0;
        names = 0;
        int start = 0;
        long nameBytes = 0;
        for (int i = 0; i <= text.Length; i++)
        {
            if (i < text.Length && text[i] != '/')
            {
                nameBytes += CountBytes(text, ref i, ref faults);
                continue;
            }

            faults |= CheckName(text[start..i], nameBytes);
            names++;
            bytes += nameBytes + (i < text.Length ? 1 : 0);
            nameBytes = 0;
            start = i + 1;
        }

        return faults;
    }

    private static PathFaults CheckName(ReadOnlySpan<char> name, long bytes) => name switch
    {
        "" => PathFaults.EmptyName,
        "." => PathFaults.Dot,
        ".." => PathFaults.DotDot,
        _ => bytes > MaxNameBytes ? PathFaults.LongName : PathFaults.None,
    };

    // Counts the bytes of a character in UTF-8. Moves to the second half of a surrogate pair.
    private static int CountBytes(ReadOnlySpan<char> text, ref int index, ref PathFaults faults)
    {
        char character = text[index];
        if (character == '\0')
        {
            faults |= PathFaults.Nul;
        }

        if (!char.IsSurrogate(character))
        {
            return character <= '\u007F' ? 1 : character <= '\u07FF' ? 2 : 3;
        }

        if (index + 1 < text.Length && char.IsSurrogatePair(character, text[index + 1]))
        {
            index++;
            return 4;
        }

        faults |= PathFaults.NotUnicode;
        return 3;
    }
}

/// <summary>Start of a <see cref="CleanPath"/>.</summary>
internal enum PathKind
{
    /// <summary>The root: the path begins with a slash.</summary>
    Absolute,

    /// <summary>Relative to the root, or to another directory that is opened first: the limit leaves space for a slash before it.</summary>
    BelowRoot,

    /// <summary>Relative to an open directory: the path may use the whole limit of a system call.</summary>
    InDirectory,
}

/// <summary>Faults of a path. A path can have several.</summary>
[Flags]
internal enum PathFaults
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>The path is empty.</summary>
    Empty = 1 << 0,

    /// <summary>The path is relative but must be absolute, or the reverse.</summary>
    WrongKind = 1 << 1,

    /// <summary>The path has a NUL character.</summary>
    Nul = 1 << 2,

    /// <summary>The path has half of a surrogate pair.</summary>
    NotUnicode = 1 << 3,

    /// <summary>The path has too many bytes of UTF-8.</summary>
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
