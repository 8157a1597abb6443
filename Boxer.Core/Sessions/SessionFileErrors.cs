using System.Runtime.InteropServices;
using Boxer.Common;
using Boxer.Native;
using Boxer.Runtime.Kept;
using Boxer.Validation;

namespace Boxer.Sessions;

/// <summary>Checks paths of file operations before they reach the sandbox, and translates the failures that come back.</summary>
internal static class SessionFileErrors
{
    /// <summary>Makes a path absolute, and rejects those that no file can have or that are refused.</summary>
    /// <param name="path">The path, as the caller gave it.</param>
    /// <param name="workingDirectory">The directory that relative paths start at.</param>
    /// <param name="field">Name of the path in a fault.</param>
    /// <exception cref="InvalidSandboxRequestException">No file can have the path.</exception>
    /// <exception cref="SandboxFileException">The path is refused.</exception>
    internal static string Resolve(string path, CleanPath workingDirectory, string field)
    {
        // The files of the sandbox's kernel. The worker resolves links itself, and refuses these too wherever a link leads there.
        CleanPath absolute = SessionPaths.Resolve(path, workingDirectory, field);
        return absolute.FirstName is "proc" or "sys"
            ? throw new SandboxFileException(path, SandboxFileError.AccessDenied, "Paths below /proc and /sys are refused.")
            : absolute.Text;
    }

    /// <summary>Translates a failure of the file worker.</summary>
    /// <param name="path">The path, as the caller gave it.</param>
    /// <param name="exception">The failure.</param>
    internal static SandboxFileException Translate(string path, GuestFileException exception)
    {
        SandboxFileError reason = exception.Errno switch
        {
            Errno.ENOENT => SandboxFileError.NotFound,
            Errno.EEXIST or Errno.ENOTEMPTY => SandboxFileError.AlreadyExists,
            Errno.ENOTDIR => SandboxFileError.NotADirectory,
            Errno.EISDIR => SandboxFileError.IsADirectory,
            Errno.EACCES or Errno.EPERM or Errno.EROFS => SandboxFileError.AccessDenied,
            Errno.ENOSPC or Errno.EDQUOT => SandboxFileError.NoSpace,
            Errno.EFBIG => SandboxFileError.TooLarge,
            Errno.ENOSYS or Errno.EOPNOTSUPP => SandboxFileError.NotSupported,
            _ => SandboxFileError.Other,
        };
        string? message = reason == SandboxFileError.Other
            ? $"The operation failed in the sandbox: {Marshal.GetPInvokeErrorMessage(exception.Errno)}."
            : null;
        return new SandboxFileException(path, reason, message, exception);
    }
}
