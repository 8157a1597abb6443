namespace Boxer.Cli.Server;

/// <summary>A Boxer server rejected a request, or is none.</summary>
internal sealed class ServerException(string message, int status = 0) : Exception(message)
{
    /// <summary>The HTTP status; 0 if the response was not understood.</summary>
    internal int Status { get; } = status;

    /// <summary>Whether the session of the request is paused.</summary>
    internal bool IsPaused { get; init; }

    /// <summary>Number of bytes of the request that a process took before it took no more; <see langword="null"/> for other errors.</summary>
    internal int? Written { get; init; }

    /// <summary>Exit code of a shell for a program that could not be started; <see langword="null"/> for other errors.</summary>
    internal int? ExitCode { get; init; }
}
