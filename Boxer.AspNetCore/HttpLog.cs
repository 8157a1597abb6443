namespace Boxer.AspNetCore;

/// <summary>Log messages of the endpoints. Event ids never change.</summary>
internal static partial class HttpLog
{
    [LoggerMessage(7003, LogLevel.Error, "Request {RequestId} failed.")]
    public static partial void Failed(ILogger logger, Exception exception, string requestId);

    [LoggerMessage(7004, LogLevel.Information, "Request {RequestId}: the client disconnected; its run was ended.")]
    public static partial void ClientGone(ILogger logger, string requestId);

    [LoggerMessage(7005, LogLevel.Information, "Stopping: running commands have {Seconds} s to end.")]
    public static partial void Stopping(ILogger logger, double seconds);

    [LoggerMessage(7006, LogLevel.Warning, "Stopping: the grace period is over; running commands are killed.")]
    public static partial void GraceOver(ILogger logger);

    [LoggerMessage(7007, LogLevel.Warning, "Run {ExecId}: its outputs were not kept: {Reason}")]
    public static partial void OutputsNotKept(ILogger logger, string execId, string reason);

    [LoggerMessage(7008, LogLevel.Warning, "Rejected a request from {RemoteAddress}: {Reason}")]
    public static partial void Rejected(ILogger logger, System.Net.IPAddress? remoteAddress, string reason);

    [LoggerMessage(7009, LogLevel.Error, "Files of a run could not be removed. They are removed when they are deleted or replaced, or at the next start.")]
    public static partial void FilesLeft(ILogger logger, Exception exception);

    [LoggerMessage(7010, LogLevel.Error, "Request {RequestId}: the disk is full.")]
    public static partial void DiskFull(ILogger logger, Exception exception, string requestId);

    [LoggerMessage(7011, LogLevel.Warning, "Dropped a response for {Client} with {Bytes} unread bytes: unread responses exceeded their memory limit.")]
    public static partial void ResponseDropped(ILogger logger, string client, long bytes);

    [LoggerMessage(7012, LogLevel.Warning, "Request {RequestId} failed with status {Status}: {Reason}")]
    public static partial void ErrorResponse(ILogger logger, string requestId, int status, string reason);
}
