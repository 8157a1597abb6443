using Boxer.Common;

namespace Boxer;

/// <summary>The exception for an operation of <see cref="ISandboxFiles"/> that failed in the sandbox. The session stays usable.</summary>
public sealed class SandboxFileException : SandboxException
{
    /// <summary>Creates an exception.</summary>
    /// <param name="path">The path as the caller gave it.</param>
    /// <param name="reason">Reason of the failure.</param>
    /// <param name="message">
    /// Description of the failure, as a sentence. Clients see it, so it contains nothing of this host. <see langword="null"/> for one that names the
    /// reason.
    /// </param>
    /// <param name="innerException">The cause, or <see langword="null"/>.</param>
    public SandboxFileException(string path, SandboxFileError reason, string? message = null, Exception? innerException = null)
        : base(Describe(path, reason, message), Describe(path, reason, message), innerException)
    {
        Path = path;
        Reason = reason;
    }

    /// <summary>The path as the caller gave it.</summary>
    public string Path { get; }

    /// <summary>Reason of the failure.</summary>
    public SandboxFileError Reason { get; }

    private static string Describe(string path, SandboxFileError reason, string? message)
    {
        ArgumentNullException.ThrowIfNull(path);
        message ??= reason switch
        {
            SandboxFileError.NotFound => "It does not exist.",
            SandboxFileError.AlreadyExists => "It exists already.",
            SandboxFileError.NotADirectory => "It is not a directory.",
            SandboxFileError.IsADirectory => "It is a directory.",
            SandboxFileError.AccessDenied => "The session's user has no permission.",
            SandboxFileError.NoSpace => "The disk limit of the session is reached.",
            SandboxFileError.TooLarge => "It is too large.",
            SandboxFileError.NotSupported => "The sandbox does not support this operation here.",
            _ => "The operation failed in the sandbox.",
        };
        return $"{UntrustedText.Show(path)}: {message}";
    }
}

/// <summary>Reason why an operation of <see cref="ISandboxFiles"/> failed. Later versions may add reasons.</summary>
public enum SandboxFileError
{
    /// <summary>Another failure; the message describes it.</summary>
    Other,

    /// <summary>Nothing exists at the path.</summary>
    NotFound,

    /// <summary>An entry exists at the path and cannot be replaced.</summary>
    AlreadyExists,

    /// <summary>A part of the path, or the entry, is not a directory.</summary>
    NotADirectory,

    /// <summary>The entry is a directory, but the operation needs a file.</summary>
    IsADirectory,

    /// <summary>The session's user has no permission, or the path is refused, as those below <c>/proc</c> and <c>/sys</c> are.</summary>
    AccessDenied,

    /// <summary>The session reached its <see cref="ResourceLimits.DiskBytes"/>.</summary>
    NoSpace,

    /// <summary>The content is larger than the operation allows.</summary>
    TooLarge,

    /// <summary>The sandbox does not support the operation at this path.</summary>
    NotSupported,
}
