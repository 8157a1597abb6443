using System.Text;
using Boxer.Common;

namespace Boxer.AspNetCore.Files;

/// <summary>Rules for paths in a <see cref="FileSpace"/>. They check the text only; nothing is resolved on disk.</summary>
internal static class StoredPath
{
    /// <summary>
    /// Maximum number of segments in a path: output/, the run, the directories that PID 1 walks (InitProtocol.MaxOutputDepth), and a file.
    /// </summary>
    internal const int MaxNames = 67;

    /// <summary>Directory of kept outputs; uploads cannot use it.</summary>
    internal const string OutputDirectory = "output";

    /// <summary>Checks a path. Every upload can be a file of a sandbox, so the limits are those of such files.</summary>
    /// <returns>The rest of a message that starts with "The path"; <see langword="null"/> if the path is valid.</returns>
    internal static string? FindFault(string path)
    {
        PathFaults faults = CleanPath.TryParse(path, PathKind.BelowRoot, out CleanPath clean);
        int names = faults == PathFaults.None ? clean.Names : path.AsSpan().Count('/') + 1;
        return faults.HasFlag(PathFaults.Empty) ? "is empty; give a relative path such as job/main.py."
            : faults.HasFlag(PathFaults.Nul) ? "has a NUL character; remove it."
            : faults.HasFlag(PathFaults.WrongKind) ? "is absolute; give it without the leading slash."
            : faults.HasFlag(PathFaults.NotUnicode) ? "is not valid Unicode; remove the unpaired surrogate."
            : faults.HasFlag(PathFaults.TooLong) ? $"has {Encoding.UTF8.GetByteCount(path)} bytes; at most {CleanPath.MaxRelativeBytes} are allowed."
            : names > MaxNames ? $"has {names} names; at most {MaxNames} are allowed."
            : faults.HasFlag(PathFaults.EmptyName) ? "has an empty name between or after slashes; write each slash once and none at the end."
            : faults.HasFlag(PathFaults.DotDot) ? "has the name ..; give the path without it."
            : faults.HasFlag(PathFaults.Dot) ? "has the name .; give the path without it."
            : faults.HasFlag(PathFaults.LongName) ? $"has a name of more than {CleanPath.MaxNameBytes} bytes; shorten it."
            : null;
    }

    /// <summary>Whether a valid path is the directory of outputs or below it.</summary>
    internal static bool IsOutput(string path) =>
        path == OutputDirectory || path.StartsWith(OutputDirectory + "/", StringComparison.Ordinal);
}
