namespace Boxer.AspNetCore.Running;

/// <summary>
/// Maps exceptions to responses. Clients see only the public message of a <see cref="SandboxException"/>. Its full message, which may contain
/// paths, addresses and output of this host's programs, goes to the log.
/// </summary>
internal sealed class ErrorResponses(GracefulShutdown shutdown, ILogger<ErrorResponses> logger)
{
    /// <summary>The message of requests to a session that is paused.</summary>
    internal const string PausedSession = "The session is paused. Resume it first, or add ?resume=true.";

    /// <summary>Gets the response for an exception that ended a request; <see langword="null"/> if the client has disconnected.</summary>
    public ApiResponse? For(Exception exception, HttpContext context)
    {
        switch (exception)
        {
            case HttpFaultException fault:
                ApiResponse failed = ApiResponse.Failed(fault.Status, fault.Message, fault.RetryAfter);
                return failed with { Error = failed.Error! with { State = fault.State }, Written = fault.Written, ExitCode = fault.ExitCode };
            case BadHttpRequestException { StatusCode: StatusCodes.Status413PayloadTooLarge }:
                return ApiResponse.Failed(StatusCodes.Status413PayloadTooLarge, "the body is too large.");
            case OperationCanceledException when context.RequestAborted.IsCancellationRequested:
            case IOException when context.RequestAborted.IsCancellationRequested:
                HttpLog.ClientGone(logger, context.TraceIdentifier);
                return null;
            case OperationCanceledException or ObjectDisposedException when shutdown.Stopping.IsCancellationRequested:
                return ApiResponse.Failed(StatusCodes.Status503ServiceUnavailable, "the host is stopping; the run was ended.");
            case BadHttpRequestException:
                return ApiResponse.Failed(StatusCodes.Status400BadRequest, "the body violates HTTP or arrived too slowly.");
            case InvalidSandboxRequestException invalid:
                return Public(StatusCodes.Status400BadRequest, invalid, FieldNames.OfRequest(invalid, context), context);
            case SandboxPrivilegeException privilege:
                return Public(StatusCodes.Status400BadRequest, privilege, privilege.PublicMessage, context);
            case ImageNotFoundException missing:
                return Public(StatusCodes.Status404NotFound, missing, missing.PublicMessage, context);
            case ImagePullException pull:
                return Public(StatusCodes.Status502BadGateway, pull, pull.PublicMessage, context);
            case FileStoreFullException full:
                return Public(StatusCodes.Status413PayloadTooLarge, full, full.PublicMessage, context);
            case SandboxCapacityException capacity:
                return Public(StatusCodes.Status429TooManyRequests, capacity, capacity.PublicMessage, context) with { RetryAfter = capacity.RetryAfter };
            case SandboxSessionEndedException ended:
                return EndedSession(ended.PublicMessage, ended.End);
            case SandboxSessionPausedException:
                ApiResponse conflict = ApiResponse.Failed(StatusCodes.Status409Conflict, PausedSession);
                return conflict with { Error = conflict.Error! with { State = SessionNames.Of(SandboxSessionState.Paused) } };
            case SandboxConnectionException refused:
                return ApiResponse.Failed(StatusCodes.Status502BadGateway, refused.PublicMessage);
            case SandboxFileException file:
                return ApiResponse.Failed(StatusOf(file.Reason), $"path: {file.PublicMessage}") with { Reason = SessionNames.Of(file.Reason) };
            case IOException full when IsDiskFull(full):
                HttpLog.DiskFull(logger, exception, context.TraceIdentifier);
                return ApiResponse.Failed(StatusCodes.Status507InsufficientStorage, "the disk of this host is full; nothing was stored.");
            default:
                HttpLog.Failed(logger, exception, context.TraceIdentifier);
                string failure = exception is SandboxRuntimeException ? "the sandbox failed" : "the host failed";
                return ApiResponse.Failed(
                    StatusCodes.Status500InternalServerError, $"{failure}; its log has the reason under request {context.TraceIdentifier}.");
        }
    }

    /// <summary>Gets the response of a request to a session that ended.</summary>
    /// <param name="message">The message.</param>
    /// <param name="end">Reason of the end.</param>
    public static ApiResponse EndedSession(string message, SandboxSessionEnd end)
    {
        ApiResponse gone = ApiResponse.Failed(StatusCodes.Status410Gone, message);
        return gone with { Error = gone.Error! with { Ended = SessionNames.Of(end) } };
    }

    private static int StatusOf(SandboxFileError error) => error switch
    {
        SandboxFileError.NotFound => StatusCodes.Status404NotFound,
        SandboxFileError.AccessDenied => StatusCodes.Status403Forbidden,
        SandboxFileError.AlreadyExists => StatusCodes.Status409Conflict,
        SandboxFileError.TooLarge => StatusCodes.Status413PayloadTooLarge,
        SandboxFileError.NoSpace => StatusCodes.Status507InsufficientStorage,
        _ => StatusCodes.Status400BadRequest,
    };

    /// <summary>Whether a device or this user's quota is full.</summary>
    private static bool IsDiskFull(IOException exception)
    {
        const int NoSpace = 28;
        const int OverQuota = 122;
        return exception.HResult is NoSpace or OverQuota;
    }

    /// <summary>Uses the public message of an exception. If the full message says more, it is logged, and the response refers to the log.</summary>
    private ApiResponse Public(int status, SandboxException exception, string message, HttpContext context)
    {
        if (exception.Message == exception.PublicMessage)
        {
            return ApiResponse.Failed(status, message);
        }

        HttpLog.ErrorResponse(logger, context.TraceIdentifier, status, exception.Message);
        return ApiResponse.Failed(status, $"{message} The host's log has the reason under request {context.TraceIdentifier}.");
    }
}
