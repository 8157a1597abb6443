using System.Text;

namespace Boxer.AspNetCore.Files;

/// <summary>The rules of names in a <see cref="FileSpace"/>. They look at the text only; nothing is resolved.</summary>
internal static class StoredPath
{
    /// <summary>PATH_MAX of Linux (limits.h), in bytes of UTF-8.</summary>
    internal const int MaxBytes = 4_096;

    /// <summary>NAME_MAX of Linux (limits.h), in bytes of UTF-8.</summary>
    internal const int MaxNameBytes = 255;

    /// <summary>
    /// Maximum number of names in a path: output/, the run, the directories that PID 1 walks (InitProtocol.MaxOutputDepth) and a file.
    /// </summary>
    internal const int MaxNames = 67;

    /// <summary>The directory that outputs of runs are kept in; uploads cannot go there.</summary>
    internal const string OutputDirectory = "output";

    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Says what is wrong with a path, or <see langword="null"/>.</summary>
    internal static string? FindFault(string path)
    {
        if (path.Length == 0)
        {
            return "is empty; give a relative path such as job/main.py.";
        }

        if (path.Contains('\0', StringComparison.Ordinal))
        {
            return "has a NUL character; remove it.";
        }

        if (path[0] == '/')
        {
            return "is absolute; give it without the leading slash.";
        }

        int length;
        try
        {
            length = StrictUtf8.GetByteCount(path);
        }
        catch (EncoderFallbackException)
        {
            return "is not valid Unicode; remove the unpaired surrogate.";
        }

        if (length > MaxBytes)
        {
            return $"has {length} bytes; at most {MaxBytes} are allowed.";
        }

        string[] names = path.Split('/');
        if (names.Length > MaxNames)
        {
            return $"has {names.Length} names; at most {MaxNames} are allowed.";
        }

        foreach (string name in names)
        {
            if (name.Length == 0)
            {
                return "has an empty name between or after slashes; write each slash once and none at the end.";
            }

            if (name is "." or "..")
            {
                return $"has the name {name}; give the path without it.";
            }

            if (StrictUtf8.GetByteCount(name) > MaxNameBytes)
            {
                return $"has a name of more than {MaxNameBytes} bytes; shorten it.";
            }
        }

        return null;
    }

    /// <summary>Whether a clean path is in the directory of outputs, or is that directory.</summary>
    internal static bool IsOutput(string path) =>
        path == OutputDirectory || path.StartsWith(OutputDirectory + "/", StringComparison.Ordinal);
}
