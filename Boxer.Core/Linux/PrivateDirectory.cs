using System.Globalization;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Linux;

/// <summary>Directories that only the user of this process can enter.</summary>
internal static class PrivateDirectory
{
    /// <summary>Mode of such directories: 0700.</summary>
    internal const UnixFileMode Mode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    /// <summary>Mode of files that only the user of this process can read and write: 0600.</summary>
    internal const UnixFileMode FileMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>
    /// Creates a directory and its missing parents with mode 0700. An existing directory must belong to the user of this process, and no other
    /// user may be able to enter it.
    /// </summary>
    /// <param name="path">Absolute path.</param>
    /// <exception cref="SandboxPrivilegeException">The directory cannot be created, or is not private. The message has a remedy.</exception>
    /// <exception cref="SandboxRuntimeException">The disk is full.</exception>
    internal static void Ensure(string path) => Open(path).Dispose();

    /// <summary>Does the same as <see cref="Ensure"/>, and returns the checked directory, opened to resolve names in it.</summary>
    /// <param name="path">Absolute path.</param>
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
            throw new SandboxPrivilegeException($"{path} is a symbolic link; use the path of the directory itself.", exception);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw HostFault.ToException($"The directory {path} cannot be created: {exception.Message}", exception);
        }

        try
        {
            SysStat.statx_t status = DirectoryHandle.Status(directory);
            string? fault =
                status.stx_uid != Unistd.geteuid() ? $"belongs to the user {status.stx_uid}, but this process is the user {Unistd.geteuid()}; choose another directory."
                : (status.stx_mode & 0x3F) != 0
                    ? string.Create(CultureInfo.InvariantCulture, $"can be entered by other users (mode {Convert.ToString(status.stx_mode & 0xFFF, 8)}); run chmod 700 on it, or choose another directory.")
                : null;
            return fault is null ? directory : throw new SandboxPrivilegeException($"{path} {fault}");
        }
        catch
        {
            directory.Dispose();
            throw;
        }
    }

    /// <summary>Creates a directory and its missing parents with mode 0700. Existing directories stay as they are.</summary>
    internal static void Create(string path)
    {
        // Directory.CreateDirectory gives its mode to the last directory only.
        if (Path.GetDirectoryName(path) is { } parent && !Directory.Exists(parent))
        {
            Create(parent);
        }

        Directory.CreateDirectory(path, Mode);
    }

    /// <summary>Removes a directory and everything in it, if it exists. Removes symbolic links without following them.</summary>
    internal static void DeleteTree(string path)
    {
        if (Directory.Exists(path))
        {
            Directory.Delete(path, recursive: true);
        }
    }
}
