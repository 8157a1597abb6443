namespace Boxer.Linux;

/// <summary>Finds programs like a shell.</summary>
internal static class ProgramPath
{
    /// <summary>Finds a program.</summary>
    /// <param name="nameOrPath">Path, or a name to look up in PATH.</param>
    /// <returns>Path of the program, or <see langword="null"/> if it does not exist.</returns>
    internal static string? Find(string nameOrPath)
    {
        if (nameOrPath.Contains('/', StringComparison.Ordinal))
        {
            return File.Exists(nameOrPath) ? Path.GetFullPath(nameOrPath) : null;
        }

        return (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries)
            .Select(directory => Path.Join(directory, nameOrPath))
            .FirstOrDefault(File.Exists);
    }
}
