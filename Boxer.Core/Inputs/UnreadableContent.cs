namespace Boxer.Inputs;

/// <summary>Failures of the contents that the caller gives.</summary>
internal static class UnreadableContent
{
    /// <summary>Whether an exception is a failure of the content. A content that cancels its own read, such as at an HttpClient timeout, has failed.</summary>
    /// <param name="exception">The exception.</param>
    /// <param name="cancellationToken">The token of the read.</param>
    internal static bool Is(Exception exception, CancellationToken cancellationToken) =>
        exception is IOException or UnauthorizedAccessException or InvalidDataException or HttpRequestException
        || (exception is OperationCanceledException && !cancellationToken.IsCancellationRequested);

    /// <summary>Creates the exception of a request whose content cannot be read.</summary>
    /// <param name="field">The property of the request.</param>
    /// <param name="exception">The failure of the content.</param>
    internal static InvalidSandboxRequestException Rejection(string field, Exception exception) =>
        new(field, "its content cannot be read.", exception.Message, exception);
}
