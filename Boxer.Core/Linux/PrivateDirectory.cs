using System.Globalization;
using Boxer.Native;

namespace Boxer.Linux;

/// <summary>Directories that only this process's user may enter.</summary>
internal static class PrivateDirectory
{
    internal const UnixFileMode Mode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    internal const UnixFileMode FileMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>
    /// Makes a directory, and parents that are missing, with mode 0700. One that is there must be a directory of this process's user that
    /// nobody else may enter.
    /// </summary>
    /// <param name="path">An absolute path.</param>
    /// <exception cref="SandboxPrivilegeException">It cannot be made, or is not ours alone; the message says what to do.</exception>
    /// <exception cref="SandboxRuntimeException">There is no room for it.</exception>
    internal static void Ensure(string path)
    {
        path = Path.TrimEndingDirectorySeparator(path);
        SysStat.statx_t status;
        try
        {
            Create(path);
            Check.Result(SysStat.statx(Fcntl.AT_FDCWD, path, Fcntl.AT_SYMLINK_NOFOLLOW, SysStat.STATX_BASIC_STATS, out status), "statx", path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw HostFault.ToException($"The directory {path} cannot be made: {exception.Message}", exception);
        }

        string? fault =
            status.Type != SysStat.S_IFDIR ? "is a symbolic link; name the directory itself."
            : status.stx_uid != Unistd.geteuid() ? $"belongs to the user {status.stx_uid}, but this process is the user {Unistd.geteuid()}; choose another directory."
            : (status.stx_mode & 0x3F) != 0
                ? string.Create(CultureInfo.InvariantCulture, $"may be entered by other users (mode {Convert.ToString(status.stx_mode & 0xFFF, 8)}); run chmod 700 on it, or choose another directory.")
            : null;
        if (fault is not null)
        {
            throw new SandboxPrivilegeException($"{path} {fault}");
        }
    }

    /// <summary>Makes a directory and parents that are missing, with mode 0700; what is there stays as it is.</summary>
    internal static void Create(string path)
    {
        // Directory.CreateDirectory gives its mode to the last directory only.
        if (Path.GetDirectoryName(path) is { } parent && !Directory.Exists(parent))
        {
            Create(parent);
        }

        Directory.CreateDirectory(path, Mode);
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
