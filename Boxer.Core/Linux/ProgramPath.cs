namespace Boxer.Linux;

/// <summary>Finds programs as a shell does.</summary>
internal static class ProgramPath
{
    /// <summary>Finds a program.</summary>
    /// <param name="nameOrPath">A path, or a name that is looked up in PATH.</param>
    /// <returns>Its path; <see langword="null"/> where there is none.</returns>
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
