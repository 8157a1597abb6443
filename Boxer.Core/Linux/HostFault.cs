using System.Net.Sockets;
using Boxer.Native;

namespace Boxer.Linux;

/// <summary>Classifies exceptions of failures of the host.</summary>
internal static class HostFault
{
    /// <summary>Whether an exception means that the host failed, and not the program.</summary>
    internal static bool Is(Exception exception) => exception is IOException or UnauthorizedAccessException or SocketException;

    /// <summary>Whether an exception means that the host is short of disk space, inodes, descriptors or memory.</summary>
    internal static bool IsShortage(Exception exception) =>
        exception is IOException { HResult: Errno.ENOSPC or Errno.EDQUOT or Errno.EMFILE or Errno.ENFILE or Errno.ENOMEM };

    /// <summary>
    /// Converts a failure to create something: a shortage, which is temporary, to a <see cref="SandboxRuntimeException"/>; other failures to a
    /// <see cref="SandboxPrivilegeException"/>.
    /// </summary>
    internal static SandboxException ToException(string message, Exception exception) =>
        IsShortage(exception) ? new SandboxRuntimeException(message, exception) : new SandboxPrivilegeException(message, exception);

    /// <summary>Finds the reason why files cannot be created in a directory, with a remedy.</summary>
    /// <param name="directory">Directory to check.</param>
    /// <param name="option">Option that names the directory.</param>
    /// <param name="cause">Failure that led to the check. If it says that the directory was full, the check does not try again.</param>
    /// <returns><see langword="null"/> if files can be created.</returns>
    internal static SandboxException? FindInDirectory(string directory, string option, Exception cause)
    {
        const int ProbeBytes = 4096;
        string probe = Path.Join(directory, $".probe-{Guid.NewGuid():N}");
        if (IsFull(cause) && cause.Message.Contains(directory, StringComparison.Ordinal))
        {
            return NoRoom(cause);
        }

        try
        {
            File.WriteAllBytes(probe, new byte[ProbeBytes]);
            return null;
        }
        catch (Exception exception) when (Is(exception))
        {
            return IsFull(exception)
                ? NoRoom(exception)
                : ToException($"The directory {directory} is not writable: make it writable, or set {option} to another directory. {exception.Message}", exception);
        }
        finally
        {
            Delete(probe);
        }

        SandboxRuntimeException NoRoom(Exception exception) =>
            new($"There is no free space or no free inode in {directory}: free some, or set {option} to another directory.", exception);
    }

    private static bool IsFull(Exception exception) => exception is IOException { HResult: Errno.ENOSPC or Errno.EDQUOT };

    private static void Delete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception exception) when (Is(exception))
        {
            // It could not be created either.
        }
    }
}
