
namespace Boxer.AspNetCore.Running;

/// <summary>
/// What each exception is answered with. A <see cref="SandboxException"/> is answered with its public sentence only; its message, which
/// names paths, addresses and what programs of this host printed, goes to the log.
/// </summary>
internal sealed class ErrorResponses(GracefulShutdown lifetime, ILogger<ErrorResponses> logger)
{
    /// <summary>The answer for an exception that ended a request; <see langword="null"/> where nobody is there to read one.</summary>
    public ApiResponse? For(Exception exception, HttpContext context)
    {
        switch (exception)
        {
            case HttpFaultException fault:
                return ApiResponse.Failed(fault.Status, fault.Message, fault.RetryAfter);
            case BadHttpRequestException { StatusCode: StatusCodes.Status413PayloadTooLarge }:
                return ApiResponse.Failed(StatusCodes.Status413PayloadTooLarge, "the body is too large.");
            case OperationCanceledException when context.RequestAborted.IsCancellationRequested:
            case IOException when context.RequestAborted.IsCancellationRequested:
                HttpLog.ClientGone(logger, context.TraceIdentifier);
                return null;
            case OperationCanceledException or ObjectDisposedException when lifetime.Stopping.IsCancellationRequested:
                return ApiResponse.Failed(StatusCodes.Status503ServiceUnavailable, "the host is stopping; the run was ended.");
            case BadHttpRequestException:
                return ApiResponse.Failed(StatusCodes.Status400BadRequest, "the body was not sent as HTTP asks for, or too slowly.");
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
            case IOException full when IsDiskFull(full):
                HttpLog.DiskFull(logger, exception, context.TraceIdentifier);
                return ApiResponse.Failed(StatusCodes.Status507InsufficientStorage, "the disk of this host is full; nothing was stored.");
            default:
                HttpLog.Failed(logger, exception, context.TraceIdentifier);
                string what = exception is SandboxRuntimeException ? "the sandbox failed" : "the host failed";
                return ApiResponse.Failed(
                    StatusCodes.Status500InternalServerError, $"{what}; its log has the reason under request {context.TraceIdentifier}.");
        }
    }

    /// <summary>Whether a device, or this user's share of it, has no room.</summary>
    private static bool IsDiskFull(IOException exception)
    {
        const int NoSpace = 28;
        const int OverQuota = 122;
        return exception.HResult is NoSpace or OverQuota;
    }

    /// <summary>Answers with what is public of an exception. If it has more than that, the rest is logged and the answer says where.</summary>
    private ApiResponse Public(int status, SandboxException exception, string sentence, HttpContext context)
    {
        if (exception.Message == exception.PublicMessage)
        {
            return ApiResponse.Failed(status, sentence);
        }

        HttpLog.Answered(logger, context.TraceIdentifier, status, exception.Message);
        return ApiResponse.Failed(status, $"{sentence} The host's log has the reason under request {context.TraceIdentifier}.");
    }
}
