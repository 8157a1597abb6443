using Boxer.Runtime;

namespace Boxer.Machine;

/// <summary>
/// The layer that is put on top of every image: PID 1's program and the directories that a sandbox mounts on. As the topmost layer it
/// wins over whatever an image has at these names.
/// </summary>
internal static class TopLayer
{
    private const UnixFileMode Everyone = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
        | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute;

    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

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

    // Set apart from making it, because the umask takes bits away.
    private static void Make(string path, UnixFileMode mode)
    {
        Directory.CreateDirectory(path);
        File.SetUnixFileMode(path, mode);
    }
}
