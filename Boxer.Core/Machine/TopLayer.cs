using Boxer.Runtime;

namespace Boxer.Machine;

/// <summary>
/// The layer on top of every image: PID 1's program and the directories that a sandbox mounts on. As the topmost layer it takes
/// precedence over everything that an image has at these paths.
/// </summary>
internal static class TopLayer
{
    private const UnixFileMode Everyone = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
        | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute;

    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    /// <summary>Creates the layer.</summary>
    /// <param name="directory">The directory to create it in.</param>
    /// <param name="initPath">The path of PID 1's program on this host.</param>
    /// <returns><paramref name="directory"/>.</returns>
    internal static string Create(string directory, string initPath)
    {
        Make(directory, Everyone);
        foreach (string name in (string[])["proc", "sys", "dev", "tmp", "output"])
        {
            Make(Path.Join(directory, name), Everyone);
        }

        Make(Path.Join(directory, ".boxer"), OwnerOnly);
        string init = directory + OciSpec.InitPath;
        File.Copy(initPath, init);
        File.SetUnixFileMode(init, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        return directory;
    }

    // The mode is set separately, because the umask clears bits when the directory is created.
    private static void Make(string path, UnixFileMode mode)
    {
        Directory.CreateDirectory(path);
        File.SetUnixFileMode(path, mode);
    }
}
