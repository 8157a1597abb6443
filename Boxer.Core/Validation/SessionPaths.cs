using Boxer.Common;

namespace Boxer.Validation;

/// <summary>
/// Parses paths of a session and the arguments of its file operations. Only the text is checked: the file worker in the sandbox has the rights of the
/// session's user, and checks the rest.
/// </summary>
internal static class SessionPaths
{
    /// <summary>Maximum number of levels of a list.</summary>
    internal const int MaxDepth = 64;

    private const UnixFileMode AllPermissions = (UnixFileMode)0b111_111_111;

    /// <summary>Parses a path of a file operation.</summary>
    /// <param name="path">The path: absolute, or relative to <paramref name="workingDirectory"/>.</param>
    /// <param name="workingDirectory">The working directory of the session.</param>
    /// <param name="field">Name of the path in the fault.</param>
    /// <returns>The absolute path, without <c>.</c> and doubled slashes.</returns>
    /// <exception cref="InvalidSandboxRequestException">The path is invalid; all faults are listed.</exception>
    internal static CleanPath Resolve(string path, CleanPath workingDirectory, string field = "Path")
    {
        ArgumentNullException.ThrowIfNull(path);
        var faults = new RequestFaults();
        return TryResolve(path, workingDirectory, field, faults) ?? throw new InvalidSandboxRequestException(faults);
    }

    /// <summary>Parses a path, and adds its faults.</summary>
    /// <returns><see langword="null"/> for an invalid one.</returns>
    internal static CleanPath? TryResolve(string path, CleanPath workingDirectory, string field, RequestFaults faults)
    {
        if (path.Length == 0)
        {
            faults.Add(field, "must not be empty; '.' is the session's working directory.");
            return null;
        }

        return CommandChecks.ParseAbsolutePath(path[0] == '/' ? path : $"{workingDirectory.Text}/{path}", field, faults);
    }

    /// <summary>Checks the mode of a file.</summary>
    /// <exception cref="InvalidSandboxRequestException">The mode has other bits than permissions.</exception>
    internal static void ValidateMode(UnixFileMode? mode)
    {
        if ((mode & ~AllPermissions) is not (null or UnixFileMode.None))
        {
            throw new InvalidSandboxRequestException("Mode", "must have only the permissions of owner, group and others, at most 0777.");
        }
    }

    /// <summary>Checks the depth of a list.</summary>
    /// <exception cref="InvalidSandboxRequestException">The depth is out of range.</exception>
    internal static void ValidateDepth(int depth)
    {
        var faults = new RequestFaults();
        faults.AddIfOutOfRange("Depth", depth, 1, MaxDepth, "levels");
        if (faults.Count > 0)
        {
            throw new InvalidSandboxRequestException(faults);
        }
    }
}
