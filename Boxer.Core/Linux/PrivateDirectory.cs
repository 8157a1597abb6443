using System.Globalization;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

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
    internal static void Ensure(string path) => Open(path).Dispose();

    /// <summary>As <see cref="Ensure"/>, and opens it to resolve names in it: the directory that is opened is the one that was checked.</summary>
    /// <param name="path">An absolute path.</param>
    /// <inheritdoc cref="Ensure"/>
    internal static SafeFileHandle Open(string path)
    {
        path = Path.TrimEndingDirectorySeparator(path);
        SafeFileHandle directory;
        try
        {
            Create(path);
            directory = DirectoryHandle.OpenToResolve(path);
        }
        catch (NativeException exception) when (new DirectoryInfo(path).LinkTarget is not null)
        {
            throw new SandboxPrivilegeException($"{path} is a symbolic link; name the directory itself.", exception);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw HostFault.ToException($"The directory {path} cannot be made: {exception.Message}", exception);
        }

        try
        {
            SysStat.statx_t status = DirectoryHandle.Status(directory);
            string? fault =
                status.stx_uid != Unistd.geteuid() ? $"belongs to the user {status.stx_uid}, but this process is the user {Unistd.geteuid()}; choose another directory."
                : (status.stx_mode & 0x3F) != 0
                    ? string.Create(CultureInfo.InvariantCulture, $"may be entered by other users (mode {Convert.ToString(status.stx_mode & 0xFFF, 8)}); run chmod 700 on it, or choose another directory.")
                : null;
            return fault is null ? directory : throw new SandboxPrivilegeException($"{path} {fault}");
        }
        catch
        {
            directory.Dispose();
            throw;
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
