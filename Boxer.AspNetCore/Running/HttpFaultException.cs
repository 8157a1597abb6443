namespace Boxer.AspNetCore.Running;

/// <summary>Ends a request with an error response.</summary>
/// <param name="status">The HTTP status.</param>
/// <param name="message">The fault and its remedy.</param>
/// <param name="retryAfter">Time after which to retry, for 429.</param>
internal sealed class HttpFaultException(int status, string message, TimeSpan? retryAfter = null) : Exception(message)
{
    public int Status => status;

    public TimeSpan? RetryAfter => retryAfter;

    /// <summary>Number of bytes of the body that had been written to a process; <see langword="null"/> for other requests.</summary>
    public long? Written { get; init; }

    /// <summary>State of the session, if it is the reason; otherwise <see langword="null"/>.</summary>
    public string? State { get; init; }

    /// <summary>Exit code of a shell for a process that could not be started; otherwise <see langword="null"/>.</summary>
    public int? ExitCode { get; init; }

    public static HttpFaultException BadRequest(string message) => new(StatusCodes.Status400BadRequest, message);
}
