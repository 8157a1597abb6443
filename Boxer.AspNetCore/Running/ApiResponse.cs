using System.IO.Pipelines;

namespace Boxer.AspNetCore.Running;

/// <summary>A JSON response: the result of a run, or an error.</summary>
/// <param name="Status">The HTTP status.</param>
/// <param name="Run">The body of 200; otherwise <see langword="null"/>.</param>
/// <param name="Error">The body of other statuses; <see langword="null"/> for 200.</param>
/// <param name="RetryAfter">Time after which to retry, for 429.</param>
internal sealed record ApiResponse(int Status, RunResponseBody? Run, RunErrorBody? Error, TimeSpan? RetryAfter = null)
{
    /// <summary>The reason why an operation on files failed in a session; otherwise <see langword="null"/>.</summary>
    public string? Reason { get; init; }

    /// <summary>Number of bytes of the body that had been written to a process; <see langword="null"/> for other requests.</summary>
    public long? Written { get; init; }

    /// <summary>Exit code of a shell for a process that could not be started; otherwise <see langword="null"/>.</summary>
    public int? ExitCode { get; init; }

    public static ApiResponse Failed(int status, string error, TimeSpan? retryAfter = null) =>
        new(status, null, new RunErrorBody { Error = error }, retryAfter);

    /// <summary>Writes the whole HTTP response.</summary>
    public async Task WriteAsync(HttpContext context)
    {
        HttpResponse response = context.Response;
        response.StatusCode = Status;
        if (RetryAfter is { } wait)
        {
            response.Headers.RetryAfter = Math.Max(1, (long)Math.Ceiling(wait.TotalSeconds)).ToString(System.Globalization.CultureInfo.InvariantCulture);
        }

        // Set here too: an application's authorization may respond before ErrorHandling runs.
        response.Headers.XContentTypeOptions = "nosniff";
        response.ContentType = "application/json; charset=utf-8";
        await WriteBodyAsync(response.BodyWriter, context.RequestAborted);
    }

    /// <summary>Writes the data of the <c>end</c> or <c>error</c> event: the same body, with the status in it.</summary>
    public Task WriteEventDataAsync(PipeWriter target, CancellationToken cancellationToken) =>
        (this with { Run = Run is null ? null : Run with { Status = Status }, Error = Error is null ? null : Error with { Status = Status } })
            .WriteBodyAsync(target, cancellationToken);

    /// <summary>Gets the body as that of a request to a session that runs no command.</summary>
    public SessionErrorBody ToSessionError() => new()
    {
        Status = Error!.Status,
        Error = Error.Error,
        Ended = Error.Ended,
        State = Error.State,
        Reason = Reason,
        Written = Written,
        ExitCode = ExitCode,
    };

    private Task WriteBodyAsync(PipeWriter target, CancellationToken cancellationToken) => Reason is not null || Written is not null || ExitCode is not null
        ? StreamingJsonWriter.WriteAsync(target, ToSessionError(), HostJson.Relaxed.SessionErrorBody, cancellationToken)
        : StreamingJsonWriter.WriteAsync(
            target, (object?)Run ?? Error!, Run is null ? HostJson.Relaxed.RunErrorBody : HostJson.Relaxed.RunResponseBody, cancellationToken);
}
