using System.Text;
using Boxer.Common;
using Boxer.Runtime.Init;

namespace Boxer.AspNetCore.Files;

/// <summary>The rules of names in a <see cref="FileSpace"/>. They look at the text only; nothing is resolved.</summary>
internal static class StoredPath
{
    /// <summary>
    /// Maximum number of names in a path: output/, the run, the directories that PID 1 walks (InitProtocol.MaxOutputDepth) and a file.
    /// </summary>
    internal const int MaxNames = 67;

    /// <summary>The directory that outputs of runs are kept in; uploads cannot go there.</summary>
    internal const string OutputDirectory = "output";

    /// <summary>Says what is wrong with a path, or <see langword="null"/>. A run can have every upload as a file of its sandbox, so the bounds are those of such files.</summary>
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

    /// <summary>Whether a clean path is in the directory of outputs, or is that directory.</summary>
    internal static bool IsOutput(string path) =>
        path == OutputDirectory || path.StartsWith(OutputDirectory + "/", StringComparison.Ordinal);
}
