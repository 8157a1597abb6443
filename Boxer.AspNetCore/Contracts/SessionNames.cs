namespace Boxer.AspNetCore.Contracts;

/// <summary>Names of states, ends and errors of sessions in bodies.</summary>
internal static class SessionNames
{
    /// <summary>States of a session.</summary>
    internal static readonly string[] States = ["running", "idle", "paused", "ended"];

    /// <summary>Reasons why a session ended.</summary>
    internal static readonly string[] Ends = ["closed", "idle_timeout", "lifetime", "memory_limit", "sandbox_died", "host_stopped"];

    /// <summary>Reasons why an operation on files failed.</summary>
    internal static readonly string[] FileErrors =
        ["not_found", "already_exists", "not_a_directory", "is_a_directory", "access_denied", "no_space", "too_large", "not_supported", "other"];

    /// <summary>Kinds of entries of directories.</summary>
    internal static readonly string[] FileTypes = ["file", "directory", "symlink", "other"];

    public static string Of(SandboxSessionState state) => state switch
    {
        SandboxSessionState.Running => "running",
        SandboxSessionState.Idle => "idle",
        SandboxSessionState.Paused => "paused",
        _ => "ended",
    };

    public static string Of(SandboxSessionEnd end) => end switch
    {
        SandboxSessionEnd.Closed => "closed",
        SandboxSessionEnd.IdleTimeout => "idle_timeout",
        SandboxSessionEnd.Lifetime => "lifetime",
        SandboxSessionEnd.MemoryLimit => "memory_limit",
        SandboxSessionEnd.HostStopped => "host_stopped",
        _ => "sandbox_died",
    };

    public static string Of(SandboxFileError error) => error switch
    {
        SandboxFileError.NotFound => "not_found",
        SandboxFileError.AlreadyExists => "already_exists",
        SandboxFileError.NotADirectory => "not_a_directory",
        SandboxFileError.IsADirectory => "is_a_directory",
        SandboxFileError.AccessDenied => "access_denied",
        SandboxFileError.NoSpace => "no_space",
        SandboxFileError.TooLarge => "too_large",
        SandboxFileError.NotSupported => "not_supported",
        _ => "other",
    };

    public static string Of(SandboxFileType type) => type switch
    {
        SandboxFileType.File => "file",
        SandboxFileType.Directory => "directory",
        SandboxFileType.SymbolicLink => "symlink",
        _ => "other",
    };

    /// <summary>Gets the name of the event of a change.</summary>
    public static string Of(SandboxFileChangeKind kind) => kind switch
    {
        SandboxFileChangeKind.Started => "started",
        SandboxFileChangeKind.Created => "created",
        SandboxFileChangeKind.Deleted => "deleted",
        SandboxFileChangeKind.Overflow => "overflow",
        _ => "changed",
    };

    /// <summary>Gets permission bits in octal, such as 0644.</summary>
    public static string Of(UnixFileMode mode) => "0" + Convert.ToString((int)mode, toBase: 8).PadLeft(3, '0');
}
