namespace Boxer.Files;

/// <summary>Directories and files that only this process's user can enter or read.</summary>
internal static class PrivateDirectory
{
    internal const UnixFileMode Mode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    internal const UnixFileMode FileMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>
    /// Makes a directory, and parents that are missing, with mode 0700. A directory that exists gets that mode, which only its owner (or
    /// root) can give it; its parents stay as they are.
    /// </summary>
    internal static void Create(string path)
    {
        // Directory.CreateDirectory gives its mode to the last directory only.
        if (Path.GetDirectoryName(path) is { } parent && !Directory.Exists(parent))
        {
            Create(parent);
        }

        Directory.CreateDirectory(path, Mode);
        if (new DirectoryInfo(path).LinkTarget is not null)
        {
            throw new IOException($"{path} is a symbolic link; make it a directory.");
        }

        File.SetUnixFileMode(path, Mode);
    }

    /// <summary>Removes a directory and everything in it, if it exists. Symbolic links are removed, never followed.</summary>
    internal static void DeleteTree(string path)
    {
        if (Directory.Exists(path))
        {
            Directory.Delete(path, recursive: true);
        }
    }
}
