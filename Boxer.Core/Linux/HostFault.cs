using System.Net.Sockets;
using Boxer.Native;

namespace Boxer.Linux;

/// <summary>What goes wrong on a host, however its libraries call it.</summary>
internal static class HostFault
{
    /// <summary>Whether the host failed, and not the program: a socket's failures are of another kind than those of files.</summary>
    internal static bool Is(Exception exception) => exception is IOException or UnauthorizedAccessException or SocketException;

    /// <summary>Whether something of the host is used up for now: room, inodes, descriptors, memory.</summary>
    internal static bool IsShortage(Exception exception) =>
        exception is IOException { HResult: Errno.ENOSPC or Errno.EDQUOT or Errno.EMFILE or Errno.ENFILE or Errno.ENOMEM };

    /// <summary>As what a failure to make something is told: a shortage passes, a privilege that is lacking does not.</summary>
    internal static SandboxException ToException(string message, Exception exception) =>
        IsShortage(exception) ? new SandboxRuntimeException(message, exception) : new SandboxPrivilegeException(message, exception);

    /// <summary>What keeps files from being made in a directory, with the remedy; <see langword="null"/> for nothing.</summary>
    /// <param name="directory">The directory.</param>
    /// <param name="option">The option that names it.</param>
    /// <param name="cause">What failed: where it says that there was no room in the directory, there may be some again.</param>
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
                : ToException($"Nothing can be written to {directory}: make it writable, or name another directory in {option}. {exception.Message}", exception);
        }
        finally
        {
            Delete(probe);
        }

        SandboxRuntimeException NoRoom(Exception exception) =>
            new($"There is no room, or no inode, left in {directory}: make room, or name another directory in {option}.", exception);
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
            // It could not be made either.
        }
    }
}
