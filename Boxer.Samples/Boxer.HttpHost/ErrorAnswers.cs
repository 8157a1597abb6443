using Boxer.Files;
using Boxer.HttpHost.Settings;

namespace Boxer.HttpHost;

/// <summary>What each exception is answered with. Paths of this machine and details of its own failures stay in the log.</summary>
internal sealed class ErrorAnswers(HostSettings settings, RunLifetime lifetime, ILogger<ErrorAnswers> logger)
{
    /// <summary>The answer for an exception that ended a request; <see langword="null"/> where nobody is there to read one.</summary>
    public HttpAnswer? For(Exception exception, HttpContext context)
    {
        switch (exception)
        {
            case HttpFaultException fault:
                return HttpAnswer.Failed(fault.Status, fault.Message, fault.RetryAfter);
            case BadHttpRequestException { StatusCode: StatusCodes.Status413PayloadTooLarge }:
                return HttpAnswer.Failed(StatusCodes.Status413PayloadTooLarge, "the body is too large.");
            case OperationCanceledException when context.RequestAborted.IsCancellationRequested:
            case IOException when context.RequestAborted.IsCancellationRequested:
                HostLog.ClientGone(logger, context.TraceIdentifier);
                return null;
            case OperationCanceledException when lifetime.End.IsCancellationRequested:
                return HttpAnswer.Failed(StatusCodes.Status503ServiceUnavailable, "the host is stopping; the run was ended.");
            case BadHttpRequestException:
                return HttpAnswer.Failed(StatusCodes.Status400BadRequest, "the body was not sent as HTTP asks for, or too slowly.");
            case InvalidSandboxRequestException invalid:
                return HttpAnswer.Failed(StatusCodes.Status400BadRequest, WithoutHome(FieldNames.OfRequest(invalid)));
            case SandboxPrivilegeException:
                return HttpAnswer.Failed(StatusCodes.Status400BadRequest, WithoutHome(exception.Message));
            case ImageNotFoundException:
                return HttpAnswer.Failed(StatusCodes.Status404NotFound, WithoutHome(exception.Message));
            case ImagePullException:
                return HttpAnswer.Failed(StatusCodes.Status502BadGateway, WithoutHome(FieldNames.OfOptions(exception.Message)));
            case FileStoreFullException:
                return HttpAnswer.Failed(StatusCodes.Status413PayloadTooLarge, exception.Message);
            case SandboxCapacityException capacity:
                return HttpAnswer.Failed(StatusCodes.Status429TooManyRequests, capacity.Message, capacity.RetryAfter);
            case IOException full when IsDiskFull(full):
                HostLog.DiskFull(logger, exception, context.TraceIdentifier);
                return HttpAnswer.Failed(StatusCodes.Status507InsufficientStorage, "the disk of this host is full; nothing was stored.");
            default:
                HostLog.Failed(logger, exception, context.TraceIdentifier);
                string what = exception is SandboxRuntimeException ? "the sandbox failed" : "the host failed";
                return HttpAnswer.Failed(
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

    /// <summary>A message without the path of the host's home.</summary>
    public string WithoutHome(string message) => message.Replace(settings.Sandboxes.Home, "<home>", StringComparison.Ordinal);
}
