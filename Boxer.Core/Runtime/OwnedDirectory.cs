using Boxer.Native;

namespace Boxer.Runtime;

/// <summary>Directories that only this process's user may enter.</summary>
internal static class OwnedDirectory
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    /// <summary>Makes a directory with mode 0700, or checks that the one that is there is ours alone.</summary>
    /// <exception cref="SandboxPrivilegeException">It is a link, belongs to someone else or lets others in.</exception>
    internal static void Ensure(string path)
    {
        try
        {
            Directory.CreateDirectory(path, OwnerOnly);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new SandboxPrivilegeException($"Cannot make the directory {path}: {exception.Message}", exception);
        }

        var directory = new DirectoryInfo(path);
        if (directory.LinkTarget is not null)
        {
            throw new SandboxPrivilegeException($"{path} is a symbolic link: it must be a directory.");
        }

        if ((directory.UnixFileMode & ~OwnerOnly) != UnixFileMode.None)
        {
            throw new SandboxPrivilegeException($"{path} is open to other users: run 'chmod 0700 {path}', or choose another directory.");
        }

        if (Owner(path) is var owner && owner != Unistd.geteuid())
        {
            throw new SandboxPrivilegeException($"{path} belongs to user {owner}, not to this process's user {Unistd.geteuid()}: choose another directory.");
        }
    }

    private static uint Owner(string path)
    {
        Check.Result(SysStat.statx(Fcntl.AT_FDCWD, path, Fcntl.AT_SYMLINK_NOFOLLOW, SysStat.STATX_BASIC_STATS, out SysStat.statx_t stat), "statx", path);
        return stat.stx_uid;
    }
}
